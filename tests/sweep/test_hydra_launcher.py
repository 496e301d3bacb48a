"""The pool as a launcher of any Hydra application: Hydra's own test suite for launchers, and slots seen from inside the jobs."""

from __future__ import annotations

import os
import signal
import time

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase
from packaging.version import Version

from hydra_plugins.mlrun_pool import PoolLauncher
from mlrun.errors import ConfigError, SweepFailed


@pytest.fixture(autouse=True)
def hydras_own_default():
    """Hydra's suite asks for no version_base; a test before it in this process may have set one."""
    before = VersionBase.instance().getbase()
    VersionBase.instance().setbase(Version("1.1"))
    yield
    VersionBase.instance().version_base = before


def test_hydra_finds_it():
    assert PoolLauncher.__name__ in [plugin.__name__ for plugin in Plugins.instance().discover(Launcher)]


@pytest.mark.parametrize("launcher_name, overrides", [("mlrun_pool", [])])
class TestPoolLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "launcher_name, overrides", [("mlrun_pool", ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"])]
)
class TestPoolLauncherInBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({}, ["-m", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled", "hydra/launcher=mlrun_pool"])],
)
class TestPoolLauncherIntegration(IntegrationTestSuite):
    pass


@pytest.fixture
def sweep(hydra_sweep_runner, tmpdir, monkeypatch):
    """Runs a function as the jobs of a sweep; returns their JobReturns."""
    monkeypatch.setattr("sys.argv", ["application"])  # a command line of an earlier test may be left there

    def run(task, *overrides):
        runner = hydra_sweep_runner(
            calling_file=None, calling_module="hydra.test_utils.a_module", task_function=task, config_path="configs",
            config_name="compose.yaml", overrides=["hydra/launcher=mlrun_pool", *overrides], temp_dir=tmpdir,
        )  # fmt: skip
        with runner:
            return runner.returns[0]

    return run


@pytest.fixture
def stay(tmp_path):
    """Makes a task that returns where its job was, and from when to when. No job ends before `together` of them have begun."""

    def task_of(together):
        begun = tmp_path / "begun"
        begun.mkdir()

        def task(cfg):
            start = time.monotonic()
            (begun / str(os.getpid())).touch()
            while len(os.listdir(begun)) < together and time.monotonic() - start < 60:
                time.sleep(0.02)
            time.sleep(0.2)
            return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["MLRUN_SLOTS"], start, time.monotonic()

        return task

    return task_of


def most_at_once(intervals):
    events = sorted([(start, 1) for start, _ in intervals] + [(end, -1) for _, end in intervals])
    most = now = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most


def by_slot(returns):
    """Slot -> the times at which it was used; device -> likewise."""
    slots, devices = {}, {}
    for job in returns:
        visible, places, start, end = job.return_value
        for place in places.split(","):
            slots.setdefault(place, []).append((start, end))
        for device in visible.split(","):
            devices.setdefault(device, []).append((start, end))
    return slots, devices


def test_one_job_per_gpu(sweep, stay, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    slots, devices = by_slot(sweep(stay(4), "+a=range(8)"))
    assert set(devices) == {"0", "1", "2", "3"}  # all are used
    assert {most_at_once(times) for times in slots.values()} == {1}
    assert {most_at_once(times) for times in devices.values()} == {1}


def test_two_jobs_per_gpu(sweep, stay, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    slots, devices = by_slot(sweep(stay(8), "+a=range(16)", "hydra.launcher.jobs_per_gpu=2"))
    assert len(slots) == 8 and {most_at_once(times) for times in slots.values()} == {1}
    assert set(devices) == set("0123") and max(map(most_at_once, devices.values())) == 2


def test_a_job_on_two_gpus_takes_two_slots(sweep, stay, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    returns = sweep(stay(3), "+a=range(5)", "+trainer.devices=1,2")
    _slots, devices = by_slot(returns)
    for job in returns:
        assert len(job.return_value[0].split(",")) == job.cfg.trainer.devices
    assert set(devices) == {"0", "1", "2", "3"} and {most_at_once(times) for times in devices.values()} == {1}


def test_the_users_own_list_of_devices_is_respected(sweep, stay, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,MIG-7d9cba3c-8dc6-5d2f-8e4a-8b2a9e3b5c11")
    _, devices = by_slot(sweep(stay(2), "+a=range(4)"))
    assert set(devices) == {"5", "MIG-7d9cba3c-8dc6-5d2f-8e4a-8b2a9e3b5c11"}


def test_more_gpus_than_there_are(sweep, stay, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ConfigError, match="trainer.devices=3: there are 2 GPUs"):
        sweep(stay(1), "+trainer.devices=3")


def test_jobs_are_alone(sweep):
    """Each has its own process, arguments, environment, directory and random numbers."""
    import random

    def task(cfg):
        import sys

        os.environ["LEAK"] = os.environ.get("LEAK", "") + "x"
        return os.getpid(), sys.argv[1:], os.environ["LEAK"], random.random()

    returns = [job.return_value for job in sweep(task, "+a=range(3)")]
    assert len({pid for pid, *_ in returns}) == 3 and os.getpid() not in {pid for pid, *_ in returns}
    assert [arguments for _, arguments, *_ in returns] == [[f"+a={a}"] for a in range(3)]
    assert {leak for *_, leak, _ in returns} == {"x"}
    assert len({number for *_, number in returns}) == 3


def test_a_process_that_dies_before_its_turn_is_replaced(sweep):
    def task(cfg):
        if cfg.a == 0:
            others, end = [], time.monotonic() + 60
            while not others and time.monotonic() < end:  # until the next one is prepared
                with open(f"/proc/{os.getppid()}/task/{os.getppid()}/children") as file:
                    others = [int(process) for process in file.read().split() if int(process) != os.getpid()]
                time.sleep(0.1)
            for process in others:
                os.kill(process, signal.SIGKILL)
            time.sleep(1)
            return others
        return cfg.a

    returns = [job.return_value for job in sweep(task, "+a=range(3)", "hydra.launcher.slots=1")]
    assert len(returns[0]) == 1 and returns[1:] == [1, 2]


def test_a_failure_does_not_stop_the_others(sweep, tmpdir):
    def task(cfg):
        if cfg.a == 1:
            raise ValueError("not one")
        return cfg.a

    from hydra.core.utils import JobStatus

    with pytest.raises(SweepFailed, match="job 1: failed ValueError: not one"):
        sweep(task, "+a=range(4)")
    text = (tmpdir / "jobs.jsonl").read()
    assert text.count('"finished"') == 3 and JobStatus.FAILED


def test_fail_fast_stops_the_others(sweep, tmpdir):
    def task(cfg):
        if cfg.a == 0:
            raise ValueError
        time.sleep(600)

    start = time.monotonic()
    with pytest.raises(SweepFailed):
        sweep(task, "+a=range(6)", "hydra.launcher.fail_fast=true", "hydra.launcher.slots=2")
    assert time.monotonic() - start < 120
    assert "because job 0 failed" in (tmpdir / "jobs.jsonl").read()
