"""Networks in a sweep: seeds, epochs, and distributed jobs one after the other."""

import csv

import pytest

from mlrun.report.numbers import number


@pytest.fixture(scope="module")
def distributed(workspace):
    """Two jobs of two processes each, one after the other."""
    return workspace.mlrun(
        "-m", "model=mlp", "dataset=trouble", "trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.devices=2", "seed=1,2",
        "trainer.max_epochs=2", "tracking.experiment=networks", "hydra.sweep.dir=outputs/networks", "hydra.launcher.slots=2", timeout=240,
    )  # fmt: skip


def test_distributed_jobs_finish_twice_in_a_row(workspace, distributed):
    status, out, err = distributed
    assert status == 0, out + err
    jobs = workspace.jobs("outputs/networks")
    assert len(jobs) == 2 and all(job["state"] == "finished" and len(job["slots"]) == 2 for job in jobs.values())
    assert all(job["epoch"] == 2 and job["monitor"] == "val/accuracy" for job in jobs.values())
    children, _ = workspace.children("networks")
    assert len(children) == 2  # the further processes record nothing


def test_a_job_gives_the_numbers_of_a_single_run(workspace, distributed):
    with open(workspace.path / "outputs/networks/sweep.csv") as file:
        rows = list(csv.DictReader(file))
    single = workspace.mlrun(
        "model=mlp", "dataset=trouble", "trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.devices=2", "seed=1", "trainer.max_epochs=2",
        "tracking.experiment=single", timeout=120,
    )  # fmt: skip
    assert single[0] == 0, single
    (in_sweep,) = [row["test/log_loss"] for row in rows if row["seed"] == "1"]
    assert f"test/log_loss   {number(float(in_sweep))}" in single[1]
