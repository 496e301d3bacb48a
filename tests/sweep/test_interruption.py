"""Ctrl-C, Ctrl-C twice, and a parent that is killed: nothing trains on, MLflow tells the truth, and the sweep can be finished."""

from __future__ import annotations

import csv
import os
import signal
import time

import pytest

pytestmark = pytest.mark.long

SLOW = ["-m", "model=naive_bayes", "dataset=trouble", "dataset.way=slow", "hydra.launcher.slots=2"]


def jobs_of(process):
    """Living processes of a sweep: those in the session of its server, a child of the parent."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read()
            with open(f"/proc/{name}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"SWEEP_TEST={process.mark}".encode() in environment and state != "Z":
            found.append(int(name))
    return found


def start(workspace, *arguments, running=2, **changes):
    """A sweep, once `running` of its jobs have begun."""
    mark = os.urandom(4).hex()
    process = workspace.start(*arguments, SWEEP_TEST=mark, **changes)
    process.mark = mark
    begun, lines = 0, []
    while begun < running:
        line = process.stdout.readline()
        assert line, "".join(lines) + process.stderr.read()
        lines.append(line)
        begun += " started on " in line
    return process


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def recorded(workspace, sweep, number):
    """Whether MLflow has given `number` jobs of a sweep their runs."""
    return sum("run_id" in path.read_text() for path in workspace.path.glob(f"outputs/{sweep}/*/run.json")) == number


def test_ctrl_c_ends_all_jobs_cleanly(workspace):
    process = start(
        workspace,
        *SLOW,
        "seed=1,1,1",
        "dataset.hold=0.5,0.6",
        "tracking.experiment=ctrl_c",
        "hydra.sweep.dir=outputs/ctrl_c",
        BAD_SEED="1",
    )
    assert wait_until(lambda: recorded(workspace, "ctrl_c", 2), 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert not jobs_of(process)
    assert "stopping" in out and "resume: mlrun resume outputs/ctrl_c" in out
    children, (parent, _) = workspace.children("ctrl_c")
    assert parent == "KILLED" and {status for status, _ in children} == {"KILLED"} and len(children) == 2
    states = [job["state"] for job in workspace.jobs("outputs/ctrl_c").values()]
    assert states == ["killed", "killed"]  # the others were not begun


def test_second_ctrl_c_does_not_wait(workspace):
    workspace.add_python("deaf.py", '''
        import pathlib, signal, time
        from trouble import Trouble

        class Deaf(Trouble):
            def read(self):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                pathlib.Path(f"deaf.{self.seed}").touch()
                time.sleep(600)
    ''')  # fmt: skip
    process = start(
        workspace,
        *SLOW,
        "dataset._target_=deaf.Deaf",
        "seed=1,2",
        "tracking.experiment=twice",
        "hydra.sweep.dir=outputs/twice",
    )
    assert wait_until(lambda: recorded(workspace, "twice", 2), 60)
    assert wait_until(lambda: len(list(workspace.path.glob("deaf.[12]"))) == 2, 60)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the jobs have time to close their runs
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - before < 12 and process.returncode == 130  # a job has 20 seconds to close its run
    assert not jobs_of(process)
    children, (parent, _) = workspace.children("twice")
    assert parent == "KILLED" and {status for status, _ in children} == {"KILLED"}


@pytest.fixture(scope="module")
def orphaned(workspace):
    """A sweep of 6 jobs whose parent was killed while two of them, which would have taken ten minutes, were running."""
    command = [
        "-m", "model=naive_bayes,knn", "dataset=trouble", "dataset.way=slow", "seed=1,2,3", "tracking.experiment=orphaned",
        "hydra.sweep.dir=outputs/orphaned", "hydra.launcher.slots=2",
    ]  # fmt: skip
    process = start(workspace, *command, running=5, BAD_SEED="2")
    assert wait_until(lambda: recorded(workspace, "orphaned", 5), 60)
    process.kill()
    process.wait()
    return process


def test_no_orphans(workspace, orphaned):
    try:
        assert wait_until(lambda: not jobs_of(orphaned), 60)
    finally:
        for process in jobs_of(orphaned):
            os.kill(process, signal.SIGKILL)

    def states():
        children, (parent, _) = workspace.children("orphaned")
        return parent, [status for status, _ in children]

    assert wait_until(lambda: states()[0] == "KILLED" and "RUNNING" not in states()[1], 60), states()


def test_resumed_sweep_ends_as_an_unbroken_one(workspace, orphaned):
    status, out, err = workspace.mlrun("resume", "outputs/orphaned")
    assert status == 0, out + err
    status, out, err = workspace.mlrun(
        "-m", "model=naive_bayes,knn", "dataset=trouble", "dataset.way=slow", "seed=1,2,3", "tracking.experiment=unbroken",
        "hydra.sweep.dir=outputs/unbroken",
    )  # fmt: skip
    assert status == 0, out + err

    def table(name):
        with open(workspace.path / "outputs" / name / "sweep.csv") as file:
            rows = list(csv.DictReader(file))
        return [
            {
                key: row[key]
                for key in row
                if key in ("model", "seed", "state", "objective") or "/" in key and not key.startswith("wall/")
            }
            for row in rows
        ]

    assert table("orphaned") == table("unbroken") and len(table("orphaned")) == 6
    children, (parent, _) = workspace.children("orphaned")
    assert parent == "FINISHED" and [status for status, _ in children] == ["FINISHED"] * 6


def test_resume_true_finds_the_sweep_of_the_same_command(workspace):
    command = [
        "-m",
        "model=naive_bayes",
        "dataset=trouble",
        "seed=1,2",
        "dataset.way=raise",
        "tracking.experiment=again",
    ]
    status, out, _ = workspace.mlrun(*command, BAD_SEED="2")
    assert status == 1
    directory = out.splitlines()[0].rpartition(" ")[2]
    status, out, _ = workspace.mlrun(*command, "resume=true")
    assert status == 0 and directory in out and out.count(" started on ") == 1
    assert len(workspace.children("again")[0]) == 2


def test_a_killed_job_goes_on_from_its_checkpoint(workspace):
    """The sweep is resumed with a job's last epochs to do; it ends with the weights of a job that was never killed."""
    import torch

    from mlrun.data.readers.tensors import load_tensors

    command = ["-m", "model=mlp", "trainer.max_epochs=150", "model.network.hidden=[16]", "seed=1"]
    process = start(
        workspace, *command, "tracking.experiment=checkpoint", "hydra.sweep.dir=outputs/checkpoint", running=1
    )
    last = workspace.path / "outputs" / "checkpoint" / "0" / "checkpoints" / "last.ckpt"
    assert wait_until(last.exists, 60)
    process.kill()
    process.wait()
    assert wait_until(lambda: not jobs_of(process), 60)
    done = torch.load(last, weights_only=True)["mlrun"]["epochs"]
    assert 1 <= done < 150
    status, out, err = workspace.mlrun("resume", "outputs/checkpoint")
    assert status == 0, out + err
    log = (workspace.path / "outputs" / "checkpoint" / "0" / "mlrun.log").read_text()
    assert log.count("epoch 1: ") == 1 and f"epoch {done + 1}: " in log and "epoch 150: " in log
    status, out, err = workspace.mlrun(*command, "tracking.experiment=unkilled", "hydra.sweep.dir=outputs/unkilled")
    assert status == 0, out + err
    one, other = (
        load_tensors(workspace.path / "outputs" / name / "0" / "model" / "weights.safetensors")
        for name in ("checkpoint", "unkilled")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
