"""What a Ray cluster has and what jobs ask of it; and the queue when machines are lost. Needs no Ray."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlrun.errors import UserError
from mlrun.sweep import job as states
from mlrun.sweep.executors.cluster import Shape, Survey, capacity, shape_of, survey
from mlrun.sweep.job import Job
from mlrun.sweep.queue import Queue
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
