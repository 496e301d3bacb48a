"""One training over several machines of a Ray cluster: `trainer.num_nodes` with `hydra/launcher=ray`."""

from __future__ import annotations

import pytest

from tests.sweep.raylets import RAY, Cluster
from tests.sweep.test_interruption import start, wait_until

pytestmark = [pytest.mark.long, RAY]

TASK = '''
import os, signal, time
from mlrun.errors import DataError
from mlrun.tasks.supervised import Supervised
from trouble import Trouble


class Steady(Supervised):
    """Takes its time, where the test says so. In another one, the process of the second machine dies in the third epoch."""

    def on_train_epoch_start(self):
        time.sleep(1 if os.environ["MLRUN_TEST"] == "slow" else 0)
        if os.environ["MLRUN_TEST"] == "die" and os.environ.get("NODE_RANK") == "1" and self.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        super().on_train_epoch_start()


class Absent(Trouble):
    """Data that the second machine does not have."""

    def read(self):
        if os.environ.get("NODE_RANK") == "1":
            raise DataError("no iris on this machine")
        return super().read()
'''
EPOCHS = 8
COMMAND = [
    "-m", "model=mlp", "model._target_=steady.Steady", "dataset=trouble", "trainer.accelerator=cpu", f"trainer.max_epochs={EPOCHS}",
    "dataset.batch_size=16", "hydra.job.env_copy=[MLRUN_TEST,GLOO_SOCKET_IFNAME]",
]  # fmt: skip
TWO = ["trainer.num_nodes=2", "trainer.strategy=ddp"]


@pytest.fixture(scope="module")
def cluster():
    made = Cluster([1])
    yield made
    made.close()


@pytest.fixture(scope="module")
def place(workspace):
    workspace.add_python("steady.py", TASK)
    return workspace


def options(cluster, sweep):
    return [*cluster.arguments, *TWO, f"tracking.experiment={sweep}", f"hydra.sweep.dir=outputs/{sweep}"]


def run(place, *arguments, test="", timeout=150):
    return place.mlrun(*COMMAND, *arguments, MLRUN_TEST=test, GLOO_SOCKET_IFNAME="lo", timeout=timeout)


@pytest.fixture(scope="module")
def alone(place):
    """Metrics of the same jobs, each in one process."""
    status, out, err = run(place, "seed=1,2", "tracking.experiment=alone", "hydra.sweep.dir=outputs/alone")
    assert status == 0, out + err
    return measured(place, "alone")


def measured(place, sweep):
    """Of every job its metrics, without its speed."""
    jobs = place.jobs(f"outputs/{sweep}")
    return [
        {name: value for name, value in jobs[number]["result"]["metrics"].items() if name != "train/steps_per_second"}
        for number in sorted(jobs)
    ]


def test_two_machines_make_the_updates_of_one(place, cluster, alone):
    status, out, err = run(place, *options(cluster, "together"), "seed=1,2")
    assert status == 0, out + err
    for together, single in zip(measured(place, "together"), alone, strict=True):
        assert together == pytest.approx(single, rel=1e-4)
    folder = place.path / "outputs" / "together" / "0"
    assert len(place.jobs("outputs/together")[0]["slots"]) == 2
    assert (folder / "checkpoints" / "last.ckpt").exists() and (folder / "node_1" / "output.log").exists()
    assert not list(folder.glob("node_1/**/*.ckpt")) and not (folder / "node_1" / "metrics.json").exists()
    children, (parent, _) = place.children("together")
    assert parent == "FINISHED" and [status for status, _ in children] == ["FINISHED"] * 2


def test_a_process_that_dies_ends_its_job(place, cluster):
    status, out, err = run(place, *options(cluster, "died"), "seed=1", test="die")
    assert status == 1, out + err
    job = place.jobs("outputs/died")[0]
    assert job["state"] == "failed" and "SIGKILL" in job["reason"] and " (on " in job["reason"], job


def test_a_machine_without_the_data_ends_the_job_that_waits_for_it(place, cluster):
    status, out, err = run(place, *options(cluster, "absent"), "dataset._target_=steady.Absent", "seed=1")
    job = place.jobs("outputs/absent")[0]
    assert status == 1 and job["state"] == "failed" and job["reason"].endswith("no iris on this machine"), out + err
    children, _ = place.children("absent")
    assert [status for status, _ in children] in (["FAILED"], ["KILLED"])


def test_several_processes_on_each_machine_resume(place, cluster):
    """Two processes on one machine, which Lightning starts; interrupted and resumed."""
    arguments = [
        *cluster.arguments,
        "trainer.strategy=ddp",
        "trainer.devices=2",
        "seed=1",
        "hydra.sweep.dir=outputs/pairs",
    ]
    process = start(
        place, *COMMAND, *arguments, "tracking.experiment=pairs", running=1, MLRUN_TEST="slow", GLOO_SOCKET_IFNAME="lo"
    )  # fmt: skip
    assert wait_until(lambda: (place.path / "outputs/pairs/0/checkpoints/last.ckpt").exists(), 60)
    process.kill()
    process.wait()
    status, out, err = place.mlrun("resume", "outputs/pairs", MLRUN_TEST="", GLOO_SOCKET_IFNAME="lo", timeout=120)
    job = place.jobs("outputs/pairs")[0]
    assert status == 0 and job["state"] == "finished" and job["attempts"] == 2, out + err
    log = (place.path / "outputs" / "pairs" / "0" / "mlrun.log").read_text()
    assert log.count("epoch 1:") == log.count("epoch 8:") == 2, log  # both processes write it


def test_there_are_too_few_machines(place, cluster):
    status, _, err = run(place, *cluster.arguments, "trainer.num_nodes=3", "seed=1", "hydra.sweep.dir=outputs/few")
    assert status == 2 and "1 CPU on each of 3 machines, which 2 machines with 3 CPUs cannot offer" in err, err
    assert not (place.path / "outputs" / "few").exists()


def test_a_training_that_has_lost_a_machine_resumes_on_others(place, cluster, alone):
    """The resource `gang` keeps the training on machines of which one can be killed."""
    for _ in range(2):
        cluster.add(num_cpus=1, resources={"gang": 1})
    process = start(
        place, *COMMAND, *options(cluster, "moved"), "seed=1", "+hydra.launcher.resources.gang=1",
        running=1, MLRUN_TEST="slow", GLOO_SOCKET_IFNAME="lo",
    )  # fmt: skip
    assert wait_until(lambda: (place.path / "outputs/moved/0/checkpoints/last.ckpt").exists(), 60)
    cluster.kill_a_node()
    cluster.add(num_cpus=1, resources={"gang": 1})
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    job = place.jobs("outputs/moved")[0]
    assert job["state"] == "finished" and job["attempts"] == 2 and "was lost" in job["reason"], job
    assert measured(place, "moved")[0] == pytest.approx(alone[0], rel=1e-4)
    log = (place.path / "outputs" / "moved" / "0" / "mlrun.log").read_text()
    assert log.count("epoch 1:") == 1, log  # it has not started over
    children, _ = place.children("moved")
    assert [status for status, _ in children] == ["FINISHED"]
