"""A command's side of the warm server: hands the command over, passes signals on, and ends as the command ends.

Imports nothing heavy. The command's process has the caller's directory, environment, arguments, descriptors (so the terminal too), umask and
ignored signals. The terminal sends its signals to this process, which forwards them.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import Any

from mlrun.warm.address import address, folder, is_of_this_user
from mlrun.warm.messages import MOST_DESCRIPTORS, receive, send

OFF = "MLRUN_WARM"  # 0: run everything in its own process
HERE = {"warm", "ui"}  # commands that gain nothing, or are about the server
TRACERS = {"coverage", "debugpy", "pydevd"}  # modules that watch this process and would see nothing
ANSWER_SECONDS = 5.0
FORWARDED = {
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCONT,
    signal.SIGTSTP, signal.SIGWINCH,
}  # fmt: skip

in_server = False  # whether this process was forked from a server for its command


def run_in_server() -> int | None:
    """Runs the command of this process in the warm server.

    If a signal ends the command, the same signal ends this process.

    Returns:
        The exit status; None if there is no server that fits, and the command must run here.
    """
    if not _may_run_elsewhere():
        return None
    connection = connect()
    if connection is None:
        return None
    with connection:
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
        try:
            if not hand_over(connection, *this_command()):
                return None
            status = _attend(connection)
        except OSError:  # the server ended before it had accepted the command
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return _end_as(status)


def connect() -> socket.socket | None:
    """A connection to the server for commands like this process's; None if there is none."""
    directory = folder()
    try:
        if directory is None or not any(name.startswith("warm-") for name in os.listdir(directory)):
            return None
        path = address(directory)
        if path is None or not path.exists():
            return None
        connection = socket.socket(socket.AF_UNIX)
    except OSError:
        return None
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        if is_of_this_user(connection):
            return connection
    except OSError:  # what is left of a server that was killed
        pass
    connection.close()
    return None


def hand_over(connection: socket.socket, command: dict[str, Any], descriptors: list[int]) -> bool:
    """Asks the server to run a command; see `this_command`. Returns whether it does. Raises OSError if it does not answer."""
    send(connection, command, descriptors)
    os.close(descriptors[0])
    answer = receive(connection)
    connection.settimeout(None)
    return answer is not None and answer[0].get("accepted", False)


def this_command() -> tuple[dict[str, Any], list[int]]:
    """What a process needs to run the command of this one, and the descriptors that go with it: the directory, then those that it inherits."""
    spec = sys.modules["__main__"].__spec__
    inherited = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    numbers = [0, 1, 2, *sorted(number for number in inherited if _is_inherited(number))]
    umask = os.umask(0o077)
    os.umask(umask)
    names = ("encoding", "errors", "line_buffering", "write_through")
    streams = {
        name: {setting: getattr(stream, setting) for setting in names}
        for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr))
    }
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN]
    command = {
        "argv": sys.argv, "path": sys.path, "module": spec.name if spec else None, "environment": dict(os.environ), "umask": umask,
        "streams": streams, "ignored": sorted(map(int, ignored)), "numbers": numbers,
    }  # fmt: skip
    return command, [os.open(".", os.O_RDONLY | os.O_CLOEXEC), *numbers]


def forward(connection: socket.socket, number: int, group: bool = False) -> None:
    """Sends a signal to the command's process, or to its process group, as a terminal does."""
    send(connection, {"signal": number, "group": group})


def _may_run_elsewhere() -> bool:
    if in_server or sys.platform != "linux" or os.environ.get(OFF) == "0" or HERE & set(sys.argv[1:2]):
        return False
    if "LOCAL_RANK" in os.environ or "MLRUN_SWEEP" in os.environ:  # its parent holds on to the process
        return False
    if sys.gettrace() or sys.getprofile() or TRACERS & set(sys.modules):
        return False
    if os.path.isdir("hydra_plugins"):  # the server has looked for plugins elsewhere
        return False
    return None not in (sys.stdin, sys.stdout, sys.stderr) and sum(map(_is_inherited, range(256))) < MOST_DESCRIPTORS


def _is_inherited(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def _attend(connection: socket.socket) -> int:
    """Forwards signals until the command ends. Returns its wait status."""
    ended: list[int] = []

    def wait() -> None:
        answer = receive(connection)
        ended.append(
            signal.SIGKILL if answer is None else answer[0]["status"]
        )  # without the server, the kernel kills the command
        os.kill(os.getpid(), signal.SIGCHLD)

    threading.Thread(target=wait, daemon=True).start()
    while not ended:
        received = signal.sigwaitinfo({*FORWARDED, signal.SIGCHLD})
        if received.si_signo == signal.SIGCHLD:
            continue
        try:
            if received.si_signo == signal.SIGTSTP:
                _stop(connection)
            else:
                forward(
                    connection, received.si_signo, group=received.si_code > 0
                )  # from the kernel: the terminal's keys
        except OSError:  # the command has ended
            continue
    return ended[0]


def _stop(connection: socket.socket) -> None:
    """Ctrl-Z: stops the command and this process until it is continued."""
    if signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN:
        return
    forward(connection, signal.SIGSTOP, group=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    os.kill(os.getpid(), signal.SIGTSTP)  # returns when continued, or at once where nobody could continue this process
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    forward(connection, signal.SIGCONT, group=True)


def _end_as(status: int) -> int:
    """The exit status for a wait status. A process that was ended by a signal is followed."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # one core file suffices
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    return 128 - code
