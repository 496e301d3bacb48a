"""Cross-validation as a job of a sweep."""

from __future__ import annotations


def test_jobs_that_cross_validate(workspace):
    status, out, err = workspace.mlrun(
        "-m", "model=naive_bayes", "dataset=trouble", "trainer=kfold", "trainer.folds=3", "seed=1,2", "tracking.experiment=folds",
        "hydra.sweep.dir=outputs/folds",
    )  # fmt: skip
    assert status == 0, out + err
    jobs = workspace.jobs("outputs/folds").values()
    assert [job["monitor"] for job in jobs] == ["cv/accuracy"] * 2 and all(0.5 < job["objective"] <= 1 for job in jobs)
    log = (workspace.path / "outputs/folds/0/output.log").read_text()
    assert "fold 1/3" in log and "fold 3/3" in log
