"""`mlrun -m experiment=compare`: the models that suit the data, cross-validated, in one ranked table."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from mlrun.config import catalogue
from mlrun.config.compose import CONF


@pytest.mark.parametrize("problem", ["classification", "regression"])
def test_the_preset_has_a_dozen_models_for_each_problem(problem):
    preset = yaml.safe_load((CONF / "experiment" / "compare.yaml").read_text(encoding="utf-8"))
    names = preset["hydra"]["sweeper"]["params"]["model"].split(",")
    entries = [catalogue.find("model", name) for name in names]
    assert all(entries) and "baseline" in names
    assert sum(catalogue.suits(problem, entry.get("fits")) for entry in entries) >= 12


def test_a_comparison_ends_in_one_table_with_deviations(workspace):
    x = np.random.default_rng(0).normal(size=(90, 2))
    lines = [f"{a:.3f},{b:.3f},{'yes' if a + 0.3 * b > 0.4 else 'no'}" for a, b in x]
    (workspace.path / "bought.csv").write_text("a,b,bought\n" + "\n".join(lines))
    status, out, err = workspace.mlrun(
        "-m",
        "experiment=compare",
        "dataset=csv",
        "dataset.path=bought.csv",
        "model=baseline,naive_bayes,svr,lasso",
        "trainer.folds=3",
        "tracking.experiment=compared",
        "hydra.sweep.dir=compared",
    )
    assert status == 0, err
    jobs = workspace.jobs("compared")
    assert sorted(one["state"] for one in jobs.values()) == ["finished", "finished"]  # svr and lasso are for values
    table = [line.split() for line in out.splitlines() if "model=" in line and "±" in line]
    assert [row[2] for row in table[-2:]] == ["model=naive_bayes", "model=baseline"]
    assert "cv/accuracy" in out and "test/accuracy" not in out.splitlines()[-6]
    assert "different datasets" not in out


def test_a_table_over_the_default_datasets_of_several_models_says_so(workspace):
    status, out, err = workspace.mlrun("-m", "model=naive_bayes,ridge", "hydra.sweep.dir=mixed")
    assert status == 0, err
    remark = "the jobs use different datasets (diabetes, iris), so their values are not comparable"
    assert out.count(remark) == 2  # before the first job and below the table


def test_data_that_cannot_be_used_end_a_comparison_before_it_begins(workspace):
    (workspace.path / "gaps.csv").write_text("a,y\n" + "1,u\n2,\n" * 20)
    status, _, err = workspace.mlrun(
        "-m", "experiment=compare", "dataset=csv", "dataset.path=gaps.csv", "hydra.sweep.dir=never"
    )
    assert status == 2 and "the target 'y' is missing in 20 rows" in err and "Traceback" not in err
    assert not (workspace.path / "never" / "jobs.jsonl").exists()
