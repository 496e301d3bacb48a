"""What slots there are, and who gets which."""

from __future__ import annotations

import pytest

from mlrun.errors import ConfigError
from mlrun.sweep import slots
from mlrun.sweep.slots import Demand, Slots, cpu_slots, demand, gpu_slots, parse_listing, share_out, visible_gpus

LISTING = """GPU 0: NVIDIA H200 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000000)
  MIG 3g.20gb     Device  0: (UUID: MIG-33333333-aaaa-bbbb-cccc-000000000000)
  MIG 1g.5gb      Device  1: (UUID: MIG-44444444-aaaa-bbbb-cccc-000000000000)
"""
NETWORK = {"model": {"_target_": "a.Task"}, "trainer": {"accelerator": "auto", "devices": 1, "threads": "auto"}}


def network(**trainer):
    return {**NETWORK, "trainer": {**NETWORK["trainer"], **trainer}}


@pytest.mark.parametrize(
    "value, wanted",
    [
        ("0,1", ["0", "1"]),
        ("2", ["2"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["1"]),
        ("GPU-12ab, MIG-34cd", ["GPU-12ab", "MIG-34cd"]),
    ],
)
def test_the_users_list(value, wanted):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == wanted


def test_a_gpu_in_mig_mode_counts_as_its_instances():
    gpu, *instances = parse_listing(LISTING)
    assert gpu.startswith("GPU-1111") and [name[:8] for name in instances] == ["MIG-3333", "MIG-4444"]


def test_a_wide_job_gets_different_gpus():
    places = Slots(gpu_slots(["0", "1"], 2))
    first = places.take("gpu", 1)
    wide = places.take("gpu", 2)
    assert len({slot.device for slot in wide}) == 2 and not set(wide) & set(first)
    assert places.take("gpu", 2) is None  # one share is left
    places.release(first)
    assert places.take("gpu", 2) is not None


def test_what_jobs_ask_for():
    assert demand(network(), 4) == Demand("gpu", 1)
    assert demand(network(), 0) == Demand("cpu", 1)
    assert demand(network(accelerator="cpu", devices=2), 4) == Demand("cpu", 2)
    assert demand(network(devices="auto"), 4) == Demand("gpu", 4)
    assert demand(network(threads=3), 0) == Demand("cpu", 1, 3)
    assert demand({"model": {"classifier": {}}, "trainer": {"accelerator": "auto"}}, 4) == Demand("cpu")
    with pytest.raises(ConfigError, match=r"trainer.devices=\[0, 3\]: in a sweep the launcher chooses"):
        demand(network(devices=[0, 3]), 4)


@pytest.mark.parametrize(
    "jobs, options, wanted",
    [
        (100, {}, (8, 1)),  # as many as cores
        (2, {}, (2, 4)),  # few jobs share the cores
        (100, {"threads": 4}, (2, 4)),
        (100, {"slots": 3}, (3, 2)),
        (100, {"slots": 3, "threads": 1}, (3, 1)),
    ],
)
def test_cores_are_shared_out(monkeypatch, jobs, options, wanted):
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)
    places, threads = share_out(
        [Demand("cpu")] * jobs, [], **{"slots": "auto", "threads": "auto", "jobs_per_gpu": 1, **options}
    )
    assert (len(places.all), threads) == wanted


def test_jobs_that_ask_for_threads_get_fewer_slots(monkeypatch):
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)
    places, threads = share_out([Demand("cpu", 1, 4)] * 10, [], "auto", "auto", 1)
    assert (len(places.all), threads) == (2, 4)


def test_estimators_do_not_wait_for_gpus():
    places, _ = share_out([Demand("gpu"), Demand("cpu")], ["0"], "auto", "auto", 1)
    assert {slot.kind for slot in places.all} == {"gpu", "cpu"}
    assert len(cpu_slots(3)) == 3
