"""What runs on every machine of a Ray cluster: an actor that holds the place of a job, and one that starts the jobs of its machine.

    driver --calls--> Node --commands--> warm server --fork--> job --reports--> Node --answers--> driver

The warm server is a process of its own, because a Ray worker has threads, and must not be forked.
"""

from __future__ import annotations

import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

from mlrun.experiment.processes import OF_LAUNCHERS
from mlrun.sweep.executors.executor import Report
from mlrun.sweep.executors.processes import Processes
from mlrun.sweep.job import LOG
from mlrun.sweep.server import Request, Server, serve

LOG_BYTES = 1 << 16  # the end of a log that is sent to the driver if it has no access to the file
DEVICES = "CUDA_VISIBLE_DEVICES"
PORTS = range(20_000, 32_000)  # above those of Ray's workers, below those of outgoing connections


@dataclass(frozen=True)
class Setting:
    """What the processes of a sweep have in common."""

    work: bytes  # pickled by value: what the process of each job executes
    version_base: str  # of the Hydra application
    directory: str | None  # the driver's working directory; None: the one that Ray has unpacked for this sweep
    sweep: str  # file that a machine sees if it shares the sweep's directory with the driver
    environment: dict[str, str] = field(default_factory=dict)


class Node:
    """The jobs of one machine. Calls return at once, except `reports`."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self._shares_files = Path(setting.sweep).is_file()
        self._directories: dict[int, Path] = {}
        self._reports: list[tuple[int, Report]] = []  # (number, report) that the driver may not have received
        self._count = 0
        self._changed = threading.Condition()
        self._started = threading.Event()
        self._failure: str | None = None
        threading.Thread(target=self._run, daemon=True).start()
        self._started.wait()

    def introduce(self, driver: str) -> tuple[str, bool]:
        """(why no job of the sweep can run here, or nothing; whether the driver's files are seen here). driver: version of mlrun there."""
        return self._problem(driver), self._shares_files

    def _problem(self, driver: str) -> str:
        directory, here = self.setting.directory, version("mlrun")
        if here != driver:
            return f"{socket.gethostname()} has mlrun {here}, this machine {driver}: install the same version"
        if directory is not None and not Path(directory).is_dir():
            return (
                f"{socket.gethostname()} has no directory {directory}: start the sweep in a directory that all machines share, "
                "or let Ray copy this one with hydra.launcher.ship=true"
            )
        return ""

    def preload(self, modules: Sequence[str]) -> None:
        """Imports modules once for all jobs."""
        self._processes.preload(modules)

    def start(self, request: Request, environment: dict[str, str]) -> None:
        """Runs a job. environment: variables that select its devices."""
        self._directories[request.number] = Path(request.directory)
        self._processes.start(request.number, lambda: request, environment)

    def signal(self, number: int, signum: int) -> None:
        """Sends a signal to all processes of a job."""
        self._processes.signal(number, signum)

    def reports(self, after: int, seconds: float) -> tuple[int, list[Report]]:
        """The reports that follow the one with number `after`, and the number of the last one. Waits up to `seconds` for the first.

        Raises:
            EOFError: the server was killed.
        """
        with self._changed:
            self._reports = [(number, report) for number, report in self._reports if number > after]
            if not self._reports and self._failure is None:
                self._changed.wait(seconds)
            if not self._reports and self._failure is not None:
                raise EOFError(self._failure)
            return self._count, [report for _, report in self._reports]

    def _run(self) -> None:
        """The server ends with the thread that has started it: this one, which lives as long as the process."""
        try:
            self._processes = Processes(spawn_server(self.setting))
        finally:
            self._started.set()
        answered = 0
        while True:
            try:
                found = self._processes.receive(1.0)
            except EOFError as error:
                with self._changed:
                    self._failure = str(error)
                    self._changed.notify_all()
                return
            if answered < self._processes.answered:
                found += [("ready", -1, None)] * (self._processes.answered - answered)
                answered = self._processes.answered
            self._add(found)

    def _add(self, found: list[Report]) -> None:
        with self._changed:
            for report in found:
                kind, number, _ = report
                if kind in ("exited", "finished") and not self._shares_files:
                    self._append(("log", number, self._log(number)))
                self._append(report)
            self._changed.notify_all()

    def _append(self, report: Report) -> None:
        self._count += 1
        self._reports.append((self._count, report))

    def _log(self, number: int) -> bytes:
        try:
            return (self._directories[number] / LOG).read_bytes()[-LOG_BYTES:]
        except OSError:
            return b""


class Holder:
    """Holds the CPUs, GPUs and other resources that a job has on one machine."""

    def place(self) -> tuple[str, str, str, int, list[str]]:
        """(id of the node, its name, its address, a free port, GPUs as CUDA_VISIBLE_DEVICES names them)."""
        import ray

        context = ray.get_runtime_context()
        devices = context.get_accelerator_ids().get("GPU", [])
        return context.get_node_id(), socket.gethostname(), ray.util.get_node_ip_address(), _free_port(), devices

    def hold(self) -> None:
        """Returns never: that this call fails tells the driver that the place is lost."""
        while True:
            time.sleep(3600)


def _free_port() -> int:
    """One on which nothing listens, and which the kernel gives to no other connection."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as free, suppress(OSError):
            free.bind(("", port))
            return port
    return 0


def spawn_server(setting: Setting) -> Server:
    """A warm server in a new process of the same Python."""

    def start(commands: socket.socket, reports: socket.socket, _: tuple[socket.socket, ...]) -> int:
        not_inherited = (DEVICES, "OMP_NUM_THREADS", *OF_LAUNCHERS)
        environment = {key: value for key, value in os.environ.items() if key not in not_inherited}
        ends = (commands.fileno(), reports.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", "mlrun.sweep.executors.node", *map(str, ends), str(os.getpid())],
            pass_fds=ends, env={**environment, **setting.environment}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return process.pid

    server = Server(start)
    server.configure(pickle.dumps((setting.directory or os.getcwd(), setting.version_base, setting.work)))
    return server


def _main(commands: int, reports: int, parent: int) -> None:
    """The new process: enters the sweep's directory, and serves."""
    channel = Connection(commands)
    directory, base, work = pickle.loads(channel.recv_bytes())
    # Lightning starts the further processes of a training with the command line that this describes
    sys.modules["__main__"].__spec__ = find_spec("mlrun.__main__")
    os.chdir(directory)
    sys.path[:] = [path for path in sys.path if path not in ("", directory)] + [directory]
    from mlrun.config.compose import register_resolvers
    from mlrun.config.hydra_internals import set_version_base

    register_resolvers()
    set_version_base(base)
    serve(channel, socket.socket(fileno=reports), pickle.loads(work), parent)


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
