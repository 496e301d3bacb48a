"""Networks in a sweep: seeds, epochs, and distributed jobs one after the other."""

import csv

import pytest


@pytest.fixture(scope="module")
def distributed(workspace):
    """Four jobs: two of one process, then two of two processes each."""
    return workspace.mlrun(
        "-m", "model=mlp", "dataset=trouble", "trainer.accelerator=cpu", "trainer.strategy=auto,ddp", "trainer.devices=2", "seed=1,2",
        "trainer.max_epochs=2", "tracking.experiment=networks", "hydra.sweep.dir=outputs/networks", "hydra.launcher.slots=2", timeout=240,
    )  # fmt: skip


def test_distributed_jobs_finish_twice_in_a_row(workspace, distributed):
    status, out, err = distributed
    assert status == 0, out + err
    jobs = workspace.jobs("outputs/networks")
    assert len(jobs) == 4 and all(job["state"] == "finished" and len(job["slots"]) == 2 for job in jobs.values())
    assert all(job["epoch"] == 2 and job["monitor"] == "val/accuracy" for job in jobs.values())
    children, _ = workspace.children("networks")
    assert len(children) == 4  # the further processes record nothing


def test_same_seed_same_numbers(workspace, distributed):
    with open(workspace.path / "outputs/networks/sweep.csv") as file:
        rows = list(csv.DictReader(file))
    for seed in "12":
        assert len({row["test/log_loss"] for row in rows if row["seed"] == seed}) == 1
    assert len({row["test/log_loss"] for row in rows}) == 2
    single = workspace.mlrun(
        "model=mlp", "dataset=trouble", "trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.devices=2", "seed=1", "trainer.max_epochs=2",
        "tracking.experiment=single", timeout=120,
    )  # fmt: skip
    assert single[0] == 0, single
    (alone,) = [row["test/accuracy"] for row in rows if row["seed"] == "1"][:1]
    assert f"test/accuracy   {float(alone):#.4g}" in single[1]
