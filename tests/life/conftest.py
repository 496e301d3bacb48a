"""Runs in forked processes, which may be killed."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback

import pytest

from mlrun.errors import UserError
from mlrun.warm.modules import COMMON, LATE, preload
from tests.warm import IMPORTS


class Child:
    """A forked process that runs `work`; its output goes to `log`."""

    def __init__(self, work, log):
        self.log = log
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout = open(1, "w", buffering=1, closefd=False)
            sys.stderr = open(2, "w", buffering=1, closefd=False)
            status = work() or 0
        except SystemExit as end:
            status = end.code or 0
        except KeyboardInterrupt:
            status = 130
        except UserError as error:
            print(f"mlrun: {error}")
            status = 2
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)

    @property
    def output(self):
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, text, seconds=60):
        end = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < end and not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), (
                self.output
            )
            time.sleep(0.005)

    def send(self, number):
        os.kill(self.pid, number)
        return self.wait()

    def wait(self):
        """Exit status; minus the signal's number if one ended it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture(autouse=True, scope="session")
def imported():
    """What runs import is imported before they are forked: each of them would import it again."""
    preload((*COMMON, *LATE, *IMPORTS))


@pytest.fixture
def begin(workplace):
    """Starts a run in its own process: `begin("dir", "model=mlp", ...) -> Child`."""
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run

    def start(directory, *overrides):
        cfg = compose(list(overrides))
        return Child(lambda: run(cfg, workplace / directory, list(overrides)) and 0, workplace / f"{directory}.log")

    return start


@pytest.fixture
def resume(workplace):
    """Resumes a run in its own process: `resume("dir", ...) -> Child`."""
    from mlrun.experiment.resuming import find, resume_run

    def start(directory, *overrides):
        name, path = str(directory).replace("/", "_"), workplace / directory
        run = str(path if path.exists() else directory)  # or an MLflow run id
        return Child(lambda: resume_run(find(run), list(overrides)), workplace / f"{name}.resumed.log")

    return start
