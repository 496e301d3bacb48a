"""The warm server: a process that has imported everything, and forks a process for each command that a socket brings.

It ends after some idle minutes, when the code or the packages change, or after SIGTERM; commands that run are waited for. A command ends
with its caller, and is killed by the kernel if the server is killed.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mlrun.experiment.processes import die_with_parent
from mlrun.warm.address import is_of_this_user
from mlrun.warm.messages import receive, send
from mlrun.warm.process import run_command

IDLE_SECONDS = 15 * 60.0
CHECK_SECONDS = 30.0  # between two looks at the files while nothing happens
REQUEST_SECONDS = 5.0  # for a caller to send its command


class WarmServer:
    """Runs commands from a listening socket.

    Args:
        listener: the socket.
        is_current: whether the imported code is still that of the files.
        lock: descriptor of a lock that is held while this server accepts commands.
        idle_seconds: it ends when no command has run for so long.
    """

    def __init__(
        self,
        listener: socket.socket,
        is_current: Callable[[], bool],
        idle_seconds: float = IDLE_SECONDS,
        lock: int | None = None,
    ):
        self.listener, self.is_current, self.idle_seconds, self.lock = listener, is_current, idle_seconds, lock
        self.commands: dict[int, socket.socket] = {}  # process -> connection to its caller
        self.accepts = True
        self._idle_since = time.monotonic()

    def run(self) -> None:
        """Serves until the end."""
        self._wake, self._woken = os.pipe()
        for end in (self._wake, self._woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.close())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while self.accepts or self.commands:
            self._turn()

    def close(self) -> None:
        """Accepts no further command, and lets another server take this one's place."""
        if self.accepts:
            self.accepts = False
            with suppress(FileNotFoundError):
                os.unlink(self.listener.getsockname())
            self._leave()

    def _leave(self) -> None:
        """Closes what makes this process the server."""
        self.listener.close()
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def _turn(self) -> None:
        connections = {connection: process for process, connection in self.commands.items()}
        watched: list[Any] = [self._wake, *connections, *([self.listener] if self.accepts else [])]
        try:
            ready = select.select(watched, [], [], min(CHECK_SECONDS, self.idle_seconds))[0]
        except (OSError, ValueError):  # SIGTERM has closed the listener
            return
        if self._wake in ready:
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
            self._report_ended()
        for connection in ready:
            if connection in connections and connections[connection] in self.commands:
                self._obey(connections[connection], connection)
        if self.accepts and self.listener in ready:
            self._accept()
        if not ready and self.accepts and not (self._is_busy() and self.is_current()):
            self.close()

    def _is_busy(self) -> bool:
        """Whether a command runs or has run lately."""
        return bool(self.commands) or time.monotonic() - self._idle_since < self.idle_seconds

    def _report_ended(self) -> None:
        for process in list(self.commands):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with self.commands.pop(process) as connection, suppress(OSError):
                    send(connection, {"status": status})
                self._idle_since = time.monotonic()

    def _obey(self, process: int, connection: socket.socket) -> None:
        """A message about a command: a signal for it, or the end of its caller, with whom it ends."""
        message = receive(connection)
        if message is None:
            os.kill(process, signal.SIGKILL)  # it was not waited for yet, so no other process has its id
            os.waitpid(process, 0)
            self.commands.pop(process).close()
            return
        number = message[0]["signal"]
        with suppress(ProcessLookupError):
            (os.killpg if message[0]["group"] else os.kill)(process, number)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        connection.settimeout(REQUEST_SECONDS)
        try:
            message = receive(connection) if is_of_this_user(connection) else None
            if message is None or "argv" not in message[0]:
                if message is not None and message[0].get("end"):
                    self.close()
                    send(connection, {"accepted": True})
                connection.close()
                return
            current = self.is_current()
            send(connection, {"accepted": current})
        except (OSError, ValueError):
            connection.close()
            return
        command, descriptors = message
        if current:
            connection.settimeout(None)
            self._start(command, descriptors, connection)
        else:
            self.close()
            connection.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def _start(self, command: dict[str, Any], descriptors: list[int], connection: socket.socket) -> None:
        """Forks the command's process. Returns in the server only."""
        server = os.getpid()
        process = os.fork()
        if process:
            with suppress(OSError):
                os.setpgid(process, process)  # in both processes: either may come first
            self.commands[process] = connection
            return
        try:
            signal.set_wakeup_fd(-1)
            with suppress(OSError):
                os.setpgid(0, 0)
            die_with_parent(server)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for end in (self._wake, self._woken):
                os.close(end)
            self._leave()
            for one in (connection, *self.commands.values()):
                one.close()
            run_command(command, descriptors)
        finally:
            os._exit(1)
