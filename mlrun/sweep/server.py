"""The warm server: a process that has imported the heavy packages, never touches CUDA, and forks a process per job.

    parent --commands--> server --fork--> job --reports--> parent

A job is prepared (forked, its configuration set up, its log opened) while others run, and waits at its first line for a slot to be free.

The server ends with its parent and takes its jobs along, also when the parent was killed with -9: the kernel is asked for it
(PR_SET_PDEATHSIG), and the end of the command channel says it.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any

from mlrun.experiment.processes import die_with_parent

MESSAGE_BYTES = 1 << 17  # a larger report does not fit through the socket
COMMON = (
    "numpy",
    "mlrun.tracking.warm",
    "mlrun.report.supervised",
    "mlrun.experiment.run",
    "PIL.PngImagePlugin",
    "threadpoolctl",
)


@dataclass
class Request:
    """What a job's process is told. `config` carries the node `hydra`; `argv` is what would run this job alone."""

    number: int
    config: Any
    directory: str
    argv: list[str]
    threads: int = 1
    parent_run: str | None = None
    run_id: str | None = None  # to go on recording to
    stop_when_told: bool = False  # reports every epoch, because the parent may prune


class Server:
    """The parent's side. `work(request, report, turn)` is done in each job's process; `turn()` waits until the job may begin."""

    def __init__(self, work):
        self.reports, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.reports, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE_BYTES)
        ours, commands = socket.socketpair()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            self.reports.close()
            _server(Connection(commands.detach()), theirs, work, parent)
        theirs.close()
        commands.close()
        self._commands = Connection(ours.detach())

    def preload(self, modules: list[str]) -> None:
        """Import in the server; what cannot be imported is left for the job to complain about. Reports ("ready", seconds)."""
        self._commands.send(("preload", modules))

    def prepare(self, request: Request) -> None:
        """Forks the job's process, which does what can be done before its turn."""
        self._commands.send(("prepare", request))

    def go(self, number: int, environment: dict[str, str]) -> None:
        """It is the prepared job's turn; `environment` says where it is to run."""
        self._commands.send(("go", number, environment))

    def signal(self, number: int, signum: int) -> None:
        """To the job's whole process group: its data workers and the further processes of a distributed run too."""
        with suppress(OSError):
            self._commands.send(("signal", number, signum))

    def receive(self, seconds: float) -> tuple | None:
        """The next report (kind, job number, payload), or None after `seconds`. Raises EOFError if the server is gone."""
        if not select.select([self.reports], [], [], seconds)[0]:
            return None
        data = self.reports.recv(2 * MESSAGE_BYTES)
        if not data:
            raise EOFError("the sweep's server has ended")
        return pickle.loads(data)

    def close(self) -> None:
        """Ends the server and every job that is still there."""
        if self.pid is None:
            return
        self._commands.close()
        self.reports.close()
        with suppress(ChildProcessError):
            for _ in range(20):
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    break
                select.select([], [], [], 0.01)
            else:  # busy with an import
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        self.pid = None


def _server(commands: Connection, reports: socket.socket, work, parent: int) -> None:
    """Never returns. What imports print is not for the terminal, where a table may be standing."""
    stderr = os.dup(2)
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.setsid()  # Ctrl-C on the terminal is for the parent, which tells the jobs
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asking whether there is a GPU must not initialize CUDA here
        _serve(commands, reports, work)
    except BaseException:
        import traceback

        os.write(stderr, traceback.format_exc().encode())
    finally:
        os._exit(0)


def _serve(commands: Connection, reports: socket.socket, work) -> None:
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    jobs: dict[int, int] = {}  # process -> job number
    waiting: dict[int, Connection] = {}  # job number -> where its process waits for its turn
    try:
        while True:
            ready, _, _ = select.select([commands, wake], [], [])
            if wake in ready:
                with suppress(BlockingIOError):
                    os.read(wake, 4096)
                for number, status in _ended(jobs):
                    if number in waiting:
                        waiting.pop(number).close()
                    send(reports, "exited", number, status)
            if commands in ready:
                command, *arguments = commands.recv()
                if command == "preload":
                    send(reports, "ready", -1, _preload(*arguments))
                elif command == "prepare":
                    _prepare(arguments[0], jobs, waiting, commands, reports, work)
                elif command == "go":
                    number, environment = arguments
                    if number in waiting:  # else it died meanwhile, which was reported
                        with waiting.pop(number) as line, suppress(BrokenPipeError):
                            line.send(environment)
                elif command == "signal":
                    for process in [process for process, number in jobs.items() if number == arguments[0]]:
                        _signal_group(process, arguments[1])
    except (EOFError, OSError):  # the parent is gone
        pass
    finally:
        for process in jobs:
            _signal_group(process, signal.SIGKILL)


_libraries = None  # threadpoolctl's view of the loaded BLAS and OpenMP libraries: looking for them takes 20 ms, so the server does it once


def _preload(modules: list[str]) -> float:
    global _libraries
    import time

    start = time.perf_counter()
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:  # a job that needs it will say so in its own log
            continue
    from threadpoolctl import ThreadpoolController

    _libraries = ThreadpoolController()
    gc.collect()
    gc.freeze()  # a collection in a job would otherwise copy every page of what is shared
    return time.perf_counter() - start


def _prepare(request: Request, jobs: dict, waiting: dict, commands: Connection, reports: socket.socket, work) -> None:
    server = os.getpid()
    line, told = Pipe(duplex=False)
    process = os.fork()
    if process:
        with suppress(OSError):
            os.setpgid(process, process)  # here and there: whoever comes first
        line.close()
        jobs[process], waiting[request.number] = request.number, told
        return
    status = 1

    def report(kind, payload=None):
        send(reports, kind, request.number, payload)

    def turn():
        with line:
            os.environ.update(line.recv())
        report("running", os.getpid())

    try:
        signal.set_wakeup_fd(-1)
        with suppress(OSError):
            os.setpgid(0, 0)
        die_with_parent(server)
        for end in (commands, told, *waiting.values()):
            end.close()
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _own_files(request)
        _own_environment(request)
        status = work(request, report, turn)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        import logging

        with suppress(Exception):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status or 0)


def _own_files(request: Request) -> None:
    """stdout and stderr, also those of C code and of processes that the job starts, go to output.log."""
    import faulthandler

    os.makedirs(request.directory, exist_ok=True)
    log = os.open(os.path.join(request.directory, "output.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)
    faulthandler.enable()  # a segmentation fault leaves a stack in the log


def _own_environment(request: Request) -> None:
    sys.argv = list(request.argv)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        os.environ[name] = str(request.threads)  # for what is loaded from now on, and for processes of the job's own
    if "torch" in sys.modules:  # before any parallel region: OpenMP cannot be told later in a forked process
        sys.modules["torch"].set_num_threads(request.threads)
    if _libraries is not None:
        _libraries.limit(limits=request.threads)


def _ended(jobs: dict[int, int]):
    """Jobs whose process has ended: (number, wait status). What they left running in their group is killed first."""
    while jobs:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if info is None:
            return
        if info.si_pid in jobs:
            _signal_group(info.si_pid, signal.SIGKILL)  # before it is reaped its number cannot be another's
        _, status = os.waitpid(info.si_pid, 0)
        if info.si_pid in jobs:
            yield jobs.pop(info.si_pid), status


def _signal_group(group: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)


def send(reports: socket.socket, kind: str, number: int, payload: Any = None) -> None:
    """One report, whole or not at all. Reports are small; what cannot be sent is replaced by a word about it."""
    try:
        data = pickle.dumps((kind, number, payload))
    except Exception as error:
        data = pickle.dumps((kind, number, Unsendable(f"{type(payload).__name__} cannot be pickled: {error}")))
    if len(data) > MESSAGE_BYTES:
        data = pickle.dumps(
            (kind, number, Unsendable(f"{type(payload).__name__} of {len(data)} bytes is too large to report"))
        )
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone, and this process will be at once
        reports.send(data)


@dataclass
class Unsendable:
    """Stands for a value that could not be reported."""

    why: str
