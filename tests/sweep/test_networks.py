"""Networks in a sweep: seeds, epochs, and distributed jobs one after the other."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from mlrun.errors import ConfigError
from mlrun.training.loaders import Loaders

SPLIT = ["dataset.split.train=91", "dataset.split.val=29", "dataset.split.test=30"]  # batches of 16 leave 11 rows


@pytest.fixture(scope="module")
def distributed(workspace):
    """Two jobs of two processes each, one after the other."""
    return workspace.mlrun(
        "-m", "model=mlp", "dataset=trouble", "trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.devices=2", "seed=1,2",
        *SPLIT, "trainer.max_epochs=2", "tracking.experiment=networks", "hydra.sweep.dir=outputs/networks", "hydra.launcher.slots=2", timeout=240,
    )  # fmt: skip


def test_distributed_jobs_finish_twice_in_a_row(workspace, distributed):
    status, out, err = distributed
    assert status == 0, out + err
    jobs = workspace.jobs("outputs/networks")
    assert len(jobs) == 2 and all(job["state"] == "finished" and len(job["slots"]) == 2 for job in jobs.values())
    assert all(job["epoch"] == 2 and job["monitor"] == "val/accuracy" for job in jobs.values())
    children, _ = workspace.children("networks")
    assert len(children) == 2  # the further processes record nothing


def test_two_processes_make_the_updates_of_one(workspace, distributed):
    single = workspace.mlrun(
        "model=mlp", "dataset=trouble", "trainer.accelerator=cpu", "seed=1", *SPLIT, "trainer.max_epochs=2", "tracking.experiment=single",
        "hydra.run.dir=outputs/single", timeout=120,
    )  # fmt: skip
    assert single[0] == 0, single
    one, two = (
        json.loads((workspace.path / "outputs" / folder / "metrics.json").read_text())
        for folder in ("single", "networks/0")
    )
    for metrics in (one, two):
        metrics.pop("train/steps_per_second", None)
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("part, sizes", [("val", {"train": 90, "val": 1}), ("train", {"train": 1, "val": 0})])
def test_more_processes_than_rows_are_refused(part, sizes):
    """They would wait for each other for ever."""
    loaders = Loaders(SimpleNamespace(sizes=sizes))
    loaders.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ConfigError, match=f"1 rows for {part} are too few for 2 processes"):
        getattr(loaders, f"{part}_dataloader")()


def test_a_killed_job_goes_on_from_its_last_checkpoint(workspace):
    """Killed after its third epoch, it trains the fourth and fifth only, to the result of a job that nothing happened to."""
    workspace.add_python("killed.py", '''
        import os, signal
        from mlrun.tasks.supervised import Supervised

        class Killed(Supervised):
            def on_train_epoch_start(self):
                with open(f"epochs_{os.environ['NAME']}.txt", "a") as file:
                    file.write(f"{self.current_epoch + 1} ")
                if "BAD" in os.environ and self.current_epoch == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                super().on_train_epoch_start()
    ''')  # fmt: skip
    command = [
        "-m", "model=mlp", "dataset=trouble", "model._target_=killed.Killed", "trainer.accelerator=cpu", "trainer.max_epochs=5", "seed=1",
    ]  # fmt: skip
    status, out, _ = workspace.mlrun(
        *command, "tracking.experiment=killed", "hydra.sweep.dir=outputs/killed", NAME="killed", BAD=""
    )
    assert status == 1 and "SIGKILL" in out
    first = workspace.jobs("outputs/killed")[0]
    status, out, err = workspace.mlrun("resume", "outputs/killed", NAME="killed")
    assert status == 0, out + err
    assert (workspace.path / "epochs_killed.txt").read_text().split() == ["1", "2", "3", "4", "4", "5"]
    status, out, err = workspace.mlrun(
        *command, "tracking.experiment=whole", "hydra.sweep.dir=outputs/whole", NAME="whole"
    )
    assert status == 0, out + err
    resumed, whole = workspace.jobs("outputs/killed")[0], workspace.jobs("outputs/whole")[0]
    assert resumed["result"]["metrics"] == whole["result"]["metrics"] and resumed["run_id"] == first["run_id"]
