"""What a Ray cluster has and what jobs ask of it; and the queue when machines are lost. Needs no Ray."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from mlrun.errors import ConfigError, UserError
from mlrun.experiment.processes import is_follower
from mlrun.sweep import job as states
from mlrun.sweep import worker
from mlrun.sweep.executors import node
from mlrun.sweep.executors.cluster import Shape, Survey, capacity, shape_of, survey
from mlrun.sweep.executors.seats import Host, Part, Seat
from mlrun.sweep.job import Job, node_directory
from mlrun.sweep.queue import Queue
from mlrun.sweep.server import Request
from mlrun.sweep.slots import Demand, Slots, cpu_slots, gpu_slots, share_out, visible_gpus
from mlrun.sweep.tally import Tally
from mlrun.tracking.store import refuse_sqlite

SETTINGS = {"cpus": "auto", "jobs_per_gpu": 1, "resources": {}, "slots": "auto", "address": None, "init": {}}


@pytest.mark.parametrize(
    "demand, settings, wanted",
    [
        (Demand("cpu"), {}, Shape(1)),
        (Demand("cpu", 2, 3), {}, Shape(6)),
        (Demand("gpu"), {"cpus": 4}, Shape(4, 1.0)),
        (Demand("gpu"), {"jobs_per_gpu": 4}, Shape(1, 0.25)),
        (Demand("gpu", 2), {"jobs_per_gpu": 4}, Shape(2, 2.0)),
        (Demand("cpu"), {"resources": {"big_memory": 1}}, Shape(1, 0.0, (("big_memory", 1),))),
        (Demand("gpu", 4, None, 2), {}, Shape(4, 4.0, (), 2)),
    ],
)
def test_what_a_job_reserves(demand, settings, wanted):
    assert shape_of(demand, {**SETTINGS, **settings}) == wanted


def test_how_many_jobs_fit():
    nodes = [{"CPU": 8, "GPU": 2}, {"CPU": 2, "GPU": 4}, {"CPU": 64, "big_memory": 1}]
    assert capacity(Shape(1), nodes) == 74
    assert capacity(Shape(1, 1.0), nodes) == 2 + 2
    assert capacity(Shape(1, 0.25), nodes) == 8 + 2
    assert capacity(Shape(1, 2.0), nodes) == 1 + 2
    assert capacity(Shape(2, 0.0, (("big_memory", 1),)), nodes) == 1
    assert capacity(Shape(1, 8.0), nodes) == 0  # no machine has so many
    assert capacity(Shape(1, nodes=2), nodes) == 8 + 2  # the third machine has a part of each
    assert capacity(Shape(1, nodes=3), nodes) == 2
    assert capacity(Shape(1, 2.0, nodes=2), nodes) == 1
    assert capacity(Shape(1, nodes=4), nodes) == 0
    assert str(Shape(4, 4.0, (), 2)) == "4 CPUs, 4 GPUs on each of 2 machines"
    assert Survey(tuple(nodes), ("a", "b", "c")).gpus_of_one == 4  # trainer.devices=auto
    assert str(Survey(tuple(nodes), ("a", "b", "c"))) == "3 machines with 74 CPUs and 6 GPUs"


@pytest.fixture
def eight_gpus(tmp_path, monkeypatch):
    """An `nvidia-smi` that lists eight."""
    program = tmp_path / "nvidia-smi"
    lines = [f"GPU {index}: NVIDIA H100 (UUID: GPU-{index:08d}-aaaa-bbbb-cccc-000000000000)" for index in range(8)]
    program.write_text("#!/bin/sh\ncat <<END\n" + "\n".join(lines) + "\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_eight_gpus_on_this_machine(eight_gpus, monkeypatch):
    devices = visible_gpus()
    assert len(devices) == 8
    halves = Slots(gpu_slots(devices, 2))
    first = [halves.take("gpu", 1) for _ in range(8)]
    assert len({slot.device for (slot,) in first}) == 8  # every GPU has one job before any has two
    assert all(halves.take("gpu", 1) for _ in range(8)) and halves.take("gpu", 1) is None
    places, _ = share_out([Demand("gpu", 4)], devices, "auto", "auto", 1)
    wide = [places.take("gpu", 4), places.take("gpu", 4)]
    assert len({slot.device for four in wide for slot in four}) == 8 and places.take("gpu", 4) is None


def test_eight_gpus_of_a_ray_on_this_machine(eight_gpus, monkeypatch):
    monkeypatch.setattr("mlrun.sweep.executors.cluster.find_spec", lambda name: object())
    monkeypatch.setattr("mlrun.sweep.executors.cluster.usable_cores", lambda: 16)
    found = survey(SETTINGS)
    assert found.gpus == 8 and found.nodes[0]["CPU"] == 16
    assert [capacity(Shape(1, share), found.nodes) for share in (0.5, 1.0, 2.0, 4.0)] == [16, 8, 4, 2]


def test_several_machines_need_a_cluster():
    with pytest.raises(
        ConfigError, match=r"trainer.num_nodes=2: this launcher has one machine; hydra/launcher=ray can"
    ):
        share_out([Demand("cpu"), Demand("cpu", nodes=2)], [], "auto", "auto", 1)


def test_a_job_does_not_take_the_place_of_the_process_that_started_ray(monkeypatch):
    """srun starts Ray's processes on the machines of an allocation, and jobs are no part of that."""
    given: dict[str, str] = {}
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(node, "Server", lambda start: start(*socket.socketpair(), ()))
    monkeypatch.setattr(node.subprocess, "Popen", lambda command, env, **_: given.update(env))
    with pytest.raises(AttributeError):  # there is no process
        node.spawn_server(node.Setting(b"", "1.3", None, ""))
    assert is_follower() and not is_follower(given) and given["SLURM_JOB_ID"] == "7"


def test_ray_is_missing(monkeypatch):
    monkeypatch.setattr("mlrun.sweep.executors.cluster.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs Ray: pip install 'mlrun.ray.'"):
        survey(SETTINGS)


def test_a_file_is_refused_for_several_machines(workplace, monkeypatch):
    refuse_sqlite([])
    with pytest.raises(UserError, match=r"only one machine can use, and jobs would run on node2: start a server"):
        refuse_sqlite(["node2"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    refuse_sqlite(["node2"])


class Script:
    """An `Executor` that reports what a test has written down for every attempt of a job."""

    ahead, gpus, hint, others = 0, 0, "", ()

    def __init__(self, slots, scripts):
        self.slots, self.scripts, self.due = Slots(cpu_slots(slots)), scripts, []

    @property
    def has_room(self):
        return bool(self.slots.free)

    def place(self, job):
        taken = self.slots.take("cpu", 1)
        job.slots = tuple(taken or ())
        return taken is not None

    def release(self, job):
        self.slots.release(job.slots)

    def prepare(self, job, request):
        pass

    def start(self, job, request):
        self.due += [(kind, job.number, payload) for kind, payload in self.scripts[job.number][job.attempts - 1]]

    def receive(self, seconds):
        due, self.due = self.due, []
        return due


LOST = [("epoch", (3, 0.5)), ("lost", "its machine b was lost")]
DONE = [("finished", {"value": 0.9})]


def test_jobs_of_lost_machines_come_first_and_give_up_after_some(tmp_path):
    jobs = [Job(number, [f"seed={number}"], None, str(number), Path(tmp_path)) for number in range(4)]
    tally, order = Tally(), []
    for job in jobs:
        tally.add(job)

    class Notes:
        def started(self, job):
            order.append(job.number)

    scripts = {0: [DONE], 1: [LOST, LOST, DONE], 2: [LOST, LOST, LOST], 3: [DONE]}
    queue = Queue(Script(2, scripts), request=None, retries=2)
    queue.listeners = [tally, Notes()]
    queue.run(jobs)
    assert [job.state for job in jobs] == [states.FINISHED, states.FINISHED, states.FAILED, states.FINISHED]
    assert (
        [job.attempts for job in jobs] == [1, 3, 3, 1]
        and order[:3] == [0, 1, 1]
        and sorted(order) == [0, 1, 1, 1, 2, 2, 2, 3]
    )
    assert jobs[2].reason == jobs[1].reason == "its machine b was lost"
    assert (
        tally.counts == {"failed": 1, "finished": 3}
        and tally.attempts == 8
        and not tally.running
        and not tally.requeued
    )


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    "left, shares_files, wanted", [(True, True, "left"), (True, False, "uploaded"), (False, True, "uploaded")]
)
def test_all_machines_of_a_training_resume_from_the_same_checkpoint(
    tmp_path, monkeypatch, rank, left, shares_files, wanted
):
    """Where a machine does not see the job's directory, none may use what it has left there."""
    cfg = OmegaConf.create({"trainer": {"upload_checkpoints": 2}, "model": {}})
    directory = Path(node_directory(str(tmp_path), rank))
    (tmp_path / "run.json").write_text(json.dumps({"identity": worker.identity(worker.plain(cfg))}))

    def give(name, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "last.ckpt").write_text(name)

    if left:
        give("left", tmp_path / "checkpoints")
    monkeypatch.setattr("mlrun.tracking.artifacts.fetch_checkpoints", lambda run, folder: give("uploaded", folder))
    monkeypatch.setattr("mlrun.experiment.state._is_readable", lambda checkpoint, trust: checkpoint.exists())
    monkeypatch.setattr("sys.argv", ["mlrun", "seed=1"])
    request = Request(0, cfg, str(directory), [], run_id="7", rank=rank, shares_files=shares_files)
    if rank:
        found = worker.checkpoint_to_follow(directory, cfg, [], request)
    else:
        found = worker.checkpoint_to_resume(directory, cfg, "7", shares_files)
    assert found.read_text() == wanted and sys.argv[1:] == ["resume", str(found)]
    assert (found.parent.parent / "config" / "config.yaml").exists() == bool(rank and wanted == "uploaded")


class Gang:
    """A seat with one job on two machines, `a` and `b`, whose actors note what is sent to them."""

    def __init__(self):
        self.sent = []
        self.a, self.b = self._machine("a"), self._machine("b")
        self.seat = Seat(Shape(1, nodes=2), [Part(None, self.a), Part(None, self.b)])
        self.seat.occupy(Job(3, [], None, "3", Path()))
        self.seat.running = {self.a, self.b}

    def _machine(self, name):
        note = SimpleNamespace(remote=lambda number, signum: self.sent.append((name, signum)))
        return Host(SimpleNamespace(signal=note), name, name, accepted=True)

    def report(self, host, kind, payload=(states.KILLED, "killed")):
        return self.seat.report(host, kind, payload)

    def lose(self, host):
        return self.seat.lose(host, f"its machine {host.name} was lost", is_gone=True)


def test_a_training_ends_with_its_last_process():
    gang = Gang()
    assert gang.report(gang.a, "epoch", (1, 0.5)) == [("epoch", 3, (1, 0.5))]
    assert gang.report(gang.b, "epoch", (1, 0.4)) == []
    assert gang.report(gang.b, "finished", {}) == gang.report(gang.b, "exited") == []
    assert gang.report(gang.a, "finished", {"value": 1}) == []
    ends = gang.report(gang.a, "exited")
    assert ends == [("finished", 3, {"value": 1}), ("exited", 3, (states.KILLED, "killed"))] and not gang.sent


def test_a_failure_names_the_machine_where_it_began():
    gang = Gang()
    assert gang.report(gang.b, "exited") == []
    assert gang.report(gang.a, "failed", "connection closed") == []
    ends = gang.report(gang.a, "exited")
    assert ends[0] == ("failed", 3, "connection closed (on b: killed)")


def test_a_training_that_waits_for_a_failed_process_ends():
    gang = Gang()
    gang.report(gang.b, "failed", "no data")
    gang.report(gang.b, "exited")
    gang.seat.end_waiting(time.monotonic())
    assert not gang.sent
    for signum in (signal.SIGINT, signal.SIGKILL):
        gang.seat.due -= 60
        gang.seat.end_waiting(time.monotonic())
        gang.seat.end_waiting(time.monotonic())
        assert gang.sent.pop() == ("a", signum) and not gang.sent
    gang.report(gang.a, "interrupted", "KeyboardInterrupt")
    ends = gang.report(gang.a, "exited")
    assert ends == [("failed", 3, "on b: no data"), ("exited", 3, (states.KILLED, "killed"))]


def test_a_job_that_finishes_while_it_is_asked_to_stop_has_finished():
    gang = Gang()
    gang.report(gang.b, "failed", "too late to matter")
    gang.report(gang.b, "exited")
    gang.seat.end_waiting(time.monotonic() + 60)
    gang.report(gang.a, "finished", {"value": 1})
    assert gang.report(gang.a, "exited")[0] == ("finished", 3, {"value": 1})


def test_the_first_process_takes_the_others_with_it():
    gang = Gang()
    gang.report(gang.a, "failed", "out of memory")
    assert gang.report(gang.a, "exited") == [] and gang.sent == [("b", signal.SIGKILL)]
    assert gang.report(gang.b, "exited")[0] == ("failed", 3, "out of memory")


LOST_B = [("lost", 3, "its machine b was lost")]


def test_a_lost_machine_ends_the_attempt_on_the_other():
    gang = Gang()
    assert gang.lose(gang.b) == [] and gang.sent == [("a", signal.SIGKILL)]
    assert gang.report(gang.a, "exited") == LOST_B


def test_a_failure_because_a_machine_was_lost_is_none():
    """The connection of the first process may break long before Ray knows that a machine is gone."""
    gang = Gang()
    assert gang.report(gang.a, "failed", "connection closed") == gang.report(gang.a, "exited") == []
    assert gang.lose(gang.b) == LOST_B
    gang = Gang()
    assert gang.report(gang.a, "failed", "connection closed") == gang.lose(gang.b) == []
    assert gang.report(gang.a, "exited") == LOST_B
    gang = Gang()
    assert gang.lose(gang.b) == gang.report(gang.a, "failed", "connection closed") == []
    assert gang.report(gang.a, "exited") == LOST_B


def test_a_machine_that_is_lost_after_the_end_changes_nothing():
    gang = Gang()
    gang.report(gang.b, "finished", {})
    gang.report(gang.b, "exited")
    assert gang.lose(gang.b) == [] and not gang.sent and not gang.seat.is_ready
    gang.report(gang.a, "finished", {"value": 1})
    assert gang.report(gang.a, "exited")[0] == ("finished", 3, {"value": 1})


def test_a_finished_job_whose_machine_is_lost_has_finished():
    gang = Gang()
    gang.report(gang.a, "finished", {"value": 1})
    gang.lose(gang.a)
    ends = gang.report(gang.b, "exited")
    assert [kind for kind, _, _ in ends] == ["finished", "exited"]


def test_the_same_reason_is_told_once():
    gang = Gang()
    gang.report(gang.b, "failed", "no column x")
    gang.report(gang.b, "exited")
    gang.report(gang.a, "failed", "no column x")
    assert gang.report(gang.a, "exited")[0] == ("failed", 3, "no column x")
    gang = Gang()
    gang.report(gang.a, "failed", "out of memory")
    gang.report(gang.b, "failed", "connection closed")
    gang.report(gang.a, "exited")
    assert gang.report(gang.b, "exited")[0] == ("failed", 3, "out of memory")


@pytest.mark.parametrize("ends", [True, False])
def test_a_job_waits_for_the_process_of_its_earlier_attempt(tmp_path, monkeypatch, ends):
    """The process on a lost machine may live for a while, and finish the job."""
    monkeypatch.setattr("mlrun.sweep.worker.LOCK_SECONDS", 1.0)
    cfg = OmegaConf.create({"model": {}, "seed": 1})
    result = json.dumps({"identity": worker.identity(worker.plain(cfg)), "objective": 0.5, "result": {"model": "mlp"}})
    code = f"""if True:
        import pathlib, sys, time
        from mlrun.tracking.run_directory import locked, this_process, write_record
        directory = pathlib.Path(sys.argv[1])
        write_record(directory, {{"process": this_process()}})
        with locked(directory):
            print("holds", flush=True)
            sys.stdin.readline()
            time.sleep(0.3)
            (directory / "result.json").write_text({result!r})
    """
    hydra_cfg = SimpleNamespace(
        runtime=SimpleNamespace(output_dir=str(tmp_path)), overrides=SimpleNamespace(task=["seed=1"])
    )
    job = worker.Worker(Request(0, cfg, str(tmp_path), []), lambda kind, payload=None: None)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == "holds\n"
        if ends:
            print(file=process.stdin, flush=True)
            assert job.run(cfg, hydra_cfg) == 0.5
        else:
            with pytest.raises(UserError, match="still active"):
                job.run(cfg, hydra_cfg)
        process.stdin.close()
