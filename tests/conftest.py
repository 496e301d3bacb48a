"""What tests share: runs in directories of their own, in this process or as a user starts them."""

from __future__ import annotations

import gc
import logging
import os
import signal

# A shell's background job ignores the one, nohup's the other, and so would what the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the tests share the cores
os.environ["MLRUN_WARM"] = (
    "0"  # commands that tests start are those of this code, not of a server that a developer has started
)

gc.set_threshold(100_000)  # as the command does

import tempfile
from pathlib import Path

import pytest

from tests.blank import blank_figures
from tests.warm import Starter

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("MLRUN_DATA_DIR") or REPOSITORY.parent / "shared" / "data")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One worker more than cores that a container's share allows, because tests wait for processes, servers and signals.

    At most eight: each holds torch in memory.
    """
    from mlrun.sweep.slots import usable_cores

    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else min(usable_cores() + 1, 8)


def pytest_configure(config):
    config.addinivalue_line("markers", "renders: the figures of this file's tests are rendered, see tests/blank.py")
    config.addinivalue_line("markers", "long: this file takes more than half a minute, and starts before others")


def pytest_collection_modifyitems(items):
    """Long files first, so that no core is idle at the end (pytest-xdist hands out whole files in this order)."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish():
    """What modules hold is no garbage: a collection need not visit it, nor a forked process copy it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def rendering(request):
    if request.node.get_closest_marker("renders"):
        yield
    else:
        with blank_figures():
            yield


@pytest.fixture(autouse=True)
def own_logging():
    """Handlers that a test's run added go with it: their files would receive the messages of all later tests.

    `hydra/job_logging=disabled`, which one test uses, disables the logger of the whole process.
    """
    root = logging.getLogger()
    before = root.handlers[:]
    logging.getLogger("mlrun").disabled = False
    yield
    for handler in root.handlers[:]:
        if handler not in before and not type(handler).__module__.startswith("_pytest."):
            root.removeHandler(handler)
            handler.close()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty working directory without settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def starter():
    """Starts commands within milliseconds, see `Starter`."""
    started = Starter()
    yield started
    started.close()


@pytest.fixture
def mlrun(workplace, starter):
    """Runs the command; returns the finished process."""

    def command(*arguments, timeout=120, **environment):
        return starter.run(arguments, workplace, {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}, timeout)

    return command


@pytest.fixture
def experiment(workplace):
    """Runs one experiment in this process; returns its Result."""
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run
    from mlrun.report import silent

    def start(*overrides):
        return run(compose(list(overrides)), tempfile.mkdtemp(dir=workplace), list(overrides), report=silent)

    return start


@pytest.fixture
def fashion_mnist():
    """The data directory with Fashion-MNIST's files; skips the test where they are absent."""
    if not (SHARED_DATA / "fashion_mnist").is_dir():
        pytest.skip("Fashion-MNIST's files are not here (MLRUN_DATA_DIR, or ../shared/data)")
    return SHARED_DATA


@pytest.fixture
def fra_eng():
    """The data directory with the English and French sentences; skips the test where they are absent."""
    if not (SHARED_DATA / "fra_eng").is_dir():
        pytest.skip("fra-eng.zip is not here (MLRUN_DATA_DIR, or ../shared/data)")
    return SHARED_DATA
