"""A sweep whose tracking server does not answer, whose recorder or job server is killed, and two processes at one sweep."""

from __future__ import annotations

import os
import signal
import sqlite3
import time

import pytest

from tests.sweep.test_interruption import jobs_of, recorded, start, wait_until

pytestmark = pytest.mark.long

NOBODY = "http://127.0.0.1:9"


def metrics(workspace, run_id):
    with sqlite3.connect(workspace.path / "mlflow.db") as database:
        return sorted(database.execute("select key, step, value from metrics where run_uuid = ?", (run_id,)))


def test_a_sweep_without_a_server_runs_and_sync_sends_everything(workspace):
    """The runs get their place below the sweep, although it had no id when they were written."""
    command = ["-m", "model=naive_bayes", "dataset=trouble", "seed=1,2", "hydra.sweep.dir=outputs/alone"]
    status, out, err = workspace.mlrun(
        *command, "tracking.experiment=alone", MLFLOW_TRACKING_URI=NOBODY, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    )
    assert status == 1 and "Traceback" not in err, out + err
    assert "2 finished" in out and "MLflow has not received all data of jobs 0, 1 and the sweep's own run" in out
    assert "mlrun sync outputs/alone" in out
    assert all(job["state"] == "finished" for job in workspace.jobs("outputs/alone").values())
    status, out, err = workspace.mlrun(
        "sync", "outputs/alone", MLFLOW_TRACKING_URI=f"sqlite:///{workspace.path}/mlflow.db"
    )
    assert status == 0, out + err
    children, (parent, tags) = workspace.children("alone")
    assert parent == "FINISHED" and [status for status, _ in children] == ["FINISHED"] * 2
    assert tags["counts"] == "2 finished"
    (parent_id,) = [run for run, _, tags in workspace.runs("alone") if tags.get("mlrun.kind") == "sweep"]
    assert [step for key, step, _ in metrics(workspace, parent_id) if key == "jobs/finished"] == [1, 2]
    assert not list((workspace.path / "outputs" / "alone").rglob("unsent.jsonl"))


SLOW = ["-m", "model=naive_bayes", "dataset=trouble", "dataset.way=slow", "hydra.launcher.slots=1", "seed=1"]


def test_a_killed_job_server_leaves_no_run_open(workspace):
    process = start(
        workspace, *SLOW, "tracking.experiment=server", "hydra.sweep.dir=outputs/server", running=1, BAD_SEED="1"
    )
    assert wait_until(lambda: recorded(workspace, "server", 1), 60)
    time.sleep(0.5)  # until the sweep knows it, too
    (server,) = [pid for pid in jobs_of(process) if _parent(pid) == process.pid and os.getsid(pid) == pid]
    os.kill(server, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in err, out + err
    assert "the server of the sweep was killed by another process" in out
    children, (parent, _) = workspace.children("server")
    assert parent == "FAILED" and [status for status, _ in children] == ["FAILED"]


def test_a_killed_recorder_is_reported(workspace):
    process = start(
        workspace,
        *SLOW,
        "dataset.hold=3",
        "tracking.experiment=recorder",
        "hydra.sweep.dir=outputs/recorder",
        running=1,
    )
    assert wait_until(lambda: recorded(workspace, "recorder", 1), 60)
    (recorder,) = [pid for pid in jobs_of(process) if _parent(pid) == process.pid and os.getsid(pid) != pid]
    os.kill(recorder, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    assert "MLflow has not received all data of the sweep's own run (the recording process ended early)" in out
    status, out, err = workspace.mlrun("sync", "outputs/recorder")
    assert status == 0, out + err
    assert workspace.children("recorder")[1][0] == "FINISHED"


def test_a_sweep_is_resumed_by_one_process_and_ends_143_after_sigterm(workspace):
    """Each ended attempt is one step of the sweep's curves, also after it was resumed."""
    command = [*SLOW[:-1], "seed=1,2", "tracking.experiment=once", "hydra.sweep.dir=outputs/once"]
    process = start(workspace, *command, running=2, BAD_SEED="2")
    assert wait_until(lambda: recorded(workspace, "once", 2), 60)
    before = time.monotonic()
    status, out, err = workspace.mlrun("resume", "outputs/once")
    assert status == 2 and "still active in another process" in err, out + err
    assert time.monotonic() - before < 20
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, out + err
    status, out, err = workspace.mlrun("resume", "outputs/once")
    assert status == 0, out + err
    (parent_id,) = [run for run, _, tags in workspace.runs("once") if tags.get("mlrun.kind") == "sweep"]
    points = [(step, value) for key, step, value in metrics(workspace, parent_id) if key == "jobs/finished"]
    assert points == [(1, 1.0), (2, 1.0), (3, 2.0)]


def _parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
