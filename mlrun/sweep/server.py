"""The warm server: a process that has imported the heavy packages, never touches CUDA, and forks a process per job.

    parent --commands--> server --fork--> job --reports--> parent

A job is prepared (forked, its configuration set up, its log opened) while others run, and then waits for a free slot.

The server and its jobs end with the parent, even if the parent is killed with SIGKILL: the kernel kills the server
(PR_SET_PDEATHSIG), and the command channel closes.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from mlrun.experiment.processes import die_with_parent
from mlrun.warm.modules import limit_threads, preload

if TYPE_CHECKING:
    from omegaconf import DictConfig

ENDED = "the server of the sweep was killed by another process"
MESSAGE_BYTES = 1 << 17  # a larger report does not fit through the socket


@dataclass
class Request:
    """What a job's process needs to know."""

    number: int
    config: DictConfig  # with the node `hydra`
    directory: str
    argv: list[str]  # the command line that would run this job alone
    threads: int = 1
    parent_run: str | None = None  # MLflow run id of the sweep
    run_id: str | None = None  # MLflow run of an earlier attempt, which is reopened
    name: str | None = None  # of the job's MLflow run
    prunable: bool = False  # every epoch is reported, because the search may prune the job
    rank: int = 0  # of the machine, in a training over several
    shares_files: bool = True  # all of them see the job's directory


class Report(Protocol):
    """Sends a report of a job to the parent."""

    def __call__(self, kind: str, payload: Any = None) -> None: ...


Work = Callable[[Request, Report, Callable[[], None]], int]


Start = Callable[[socket.socket, socket.socket, tuple[socket.socket, ...]], int]


class Server:
    """The parent's side of the server.

    Args:
        start: starts the server's process with its ends of the channels of commands and of reports, and returns its process id.
            The other ends, which only the parent must have, are its third argument.
    """

    def __init__(self, start: Start):
        self.reports, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.reports, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE_BYTES)
        ours, commands = socket.socketpair()
        self.pid: int | None = start(commands, theirs, (ours, self.reports))
        theirs.close()
        commands.close()
        self._commands = Connection(ours.detach())

    def configure(self, data: bytes) -> None:
        """Sends what a server that was not forked must read before it serves."""
        self._commands.send_bytes(data)

    def preload(self, modules: Sequence[str]) -> None:
        """Imports modules in the server, which then reports ("ready", seconds). The job reports what cannot be imported."""
        self._send("preload", modules)

    def prepare(self, request: Request) -> None:
        """Forks the job's process, which does everything that can be done before its turn."""
        self._send("prepare", request)

    def go(self, number: int, environment: dict[str, str]) -> None:
        """Lets a prepared job run. environment: variables that select its devices."""
        self._send("go", number, environment)

    def signal(self, number: int, signum: int) -> None:
        """Sends a signal to the job's process group, which includes data workers and the further processes of a distributed run."""
        with suppress(EOFError):
            self._send("signal", number, signum)

    def _send(self, *command: Any) -> None:
        """Raises EOFError if the server is gone."""
        try:
            self._commands.send(command)
        except OSError as error:
            raise EOFError(ENDED) from error

    def receive(self, seconds: float) -> tuple[str, int, Any] | None:
        """The next report (kind, job number, payload); None after `seconds`. Raises EOFError if the server is gone."""
        if not select.select([self.reports], [], [], seconds)[0]:
            return None
        data = self.reports.recv(2 * MESSAGE_BYTES)
        if not data:
            raise EOFError(ENDED)
        return pickle.loads(data)

    def close(self) -> None:
        """Ends the server and all its jobs; safe to call twice."""
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


def fork_server(work: Work) -> Server:
    """A server forked from this process.

    Args:
        work: `work(request, report, wait_for_turn)` runs in the process of each job and returns its exit status.
    """

    def start(commands: socket.socket, reports: socket.socket, of_parent: tuple[socket.socket, ...]) -> int:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            for end in of_parent:
                end.close()
            serve(Connection(commands.detach()), reports, work, parent)
        return process

    return Server(start)


def serve(commands: Connection, reports: socket.socket, work: Work, parent: int) -> NoReturn:
    """Runs the server in its process. Discards what imports print: it would overwrite the live table on the terminal.

    Args:
        parent: process id of the parent, with which this process ends.
    """
    stderr = os.dup(2)
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.setsid()  # Ctrl-C on the terminal reaches only the parent, which stops the jobs
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # looking for a GPU must not initialize CUDA here
        _serve(commands, reports, work)
    except BaseException:
        import traceback

        os.write(stderr, traceback.format_exc().encode())
    finally:
        os._exit(0)


def _serve(commands: Connection, reports: socket.socket, work: Work) -> None:
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    jobs: dict[int, int] = {}  # process -> job number
    waiting: dict[int, Connection] = {}  # job number -> channel on which its process waits for its turn
    try:
        while True:
            ready = select.select([commands.fileno(), wake], [], [])[0]
            if wake in ready:
                with suppress(BlockingIOError):
                    os.read(wake, 4096)
                for number, status in _ended(jobs):
                    if number in waiting:
                        waiting.pop(number).close()
                    send(reports, "exited", number, status)
            if commands.fileno() in ready:
                command, *arguments = commands.recv()
                if command == "preload":
                    send(reports, "ready", -1, preload(*arguments))
                elif command == "prepare":
                    _prepare(arguments[0], jobs, waiting, commands, reports, work)
                elif command == "go":
                    number, environment = arguments
                    if number in waiting:  # otherwise it has died, which was reported
                        with waiting.pop(number) as channel, suppress(BrokenPipeError):
                            channel.send(environment)
                elif command == "signal":
                    for process in [process for process, number in jobs.items() if number == arguments[0]]:
                        _signal_group(process, arguments[1])
    except (EOFError, OSError):  # the parent is gone
        pass
    finally:
        for process in jobs:
            _signal_group(process, signal.SIGKILL)


def _prepare(
    request: Request,
    jobs: dict[int, int],
    waiting: dict[int, Connection],
    commands: Connection,
    reports: socket.socket,
    work: Work,
) -> None:
    """Forks the process of a job. Returns in the server only."""
    server = os.getpid()
    ours, theirs = Pipe(duplex=False)  # the job's end and the server's
    process = os.fork()
    if process:
        with suppress(OSError):
            os.setpgid(process, process)  # in both processes: either may come first
        ours.close()
        jobs[process], waiting[request.number] = request.number, theirs
        return
    status = 1

    def report(kind: str, payload: Any = None) -> None:
        send(reports, kind, request.number, payload)

    def wait_for_turn() -> None:
        with ours:
            os.environ.update(ours.recv())
        report("running", os.getpid())

    try:
        signal.set_wakeup_fd(-1)
        with suppress(OSError):
            os.setpgid(0, 0)
        die_with_parent(server)
        for end in (commands, theirs, *waiting.values()):
            end.close()
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # inherited from Ray, whose threads block it
        _redirect_output(request)
        limit_threads(request.threads)
        sys.argv = list(request.argv)
        status = work(request, report, wait_for_turn)
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


def _redirect_output(request: Request) -> None:
    """Sends stdout and stderr to output.log, including those of C code and of processes that the job starts."""
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


def _ended(jobs: dict[int, int]) -> Iterator[tuple[int, int]]:
    """(job number, wait status) of the processes that have ended. What they left running in their group is killed first."""
    while jobs:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if info is None:
            return
        if info.si_pid in jobs:
            _signal_group(info.si_pid, signal.SIGKILL)  # until it is reaped, no other process can get its id
        _, status = os.waitpid(info.si_pid, 0)
        if info.si_pid in jobs:
            yield jobs.pop(info.si_pid), status


def _signal_group(group: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)


def send(reports: socket.socket, kind: str, number: int, payload: Any = None) -> None:
    """Sends one report, completely or not at all. A payload that cannot be sent is replaced by an `Unsendable`."""
    try:
        data = pickle.dumps((kind, number, payload))
    except Exception as error:
        data = pickle.dumps((kind, number, Unsendable(f"{type(payload).__name__} cannot be pickled: {error}")))
    if len(data) > MESSAGE_BYTES:
        data = pickle.dumps(
            (kind, number, Unsendable(f"{type(payload).__name__} of {len(data)} bytes is too large to report"))
        )
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone, and this process ends with it
        reports.send(data)


@dataclass
class Unsendable:
    """Takes the place of a payload that could not be sent."""

    why: str
