"""Starts and ends the warm server of commands like this process's."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from mlrun.errors import UserError
from mlrun.warm.address import address, fingerprint, folder, shared_path
from mlrun.warm.client import connect
from mlrun.warm.messages import receive, send
from mlrun.warm.server import IDLE_SECONDS, WarmServer


def start(idle_seconds: float = IDLE_SECONDS) -> int | None:
    """Starts the server, unless there is one, and waits until it accepts commands.

    Returns:
        The server's process; None if there is one already.

    Raises:
        UserError: it cannot be started.
    """
    if sys.platform != "linux":
        raise UserError("mlrun warm: only Linux can fork a process that has loaded these libraries safely")
    directory = folder(create=True)
    path = address(directory) if directory else None
    if path is None:
        raise UserError(
            f"mlrun warm: there is no private directory for its socket; set XDG_RUNTIME_DIR to a directory of yours with mode 0700 "
            f"and a short path (now {os.environ.get('XDG_RUNTIME_DIR', 'not set')})"
        )
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    path.unlink(missing_ok=True)  # of a server that was killed
    ready, told = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(ready)
        _serve(path, lock, told, idle_seconds)
    os.close(told)
    os.close(lock)  # the server holds it
    with open(ready) as reader:
        answer = reader.read()
    if answer != "ready":
        os.waitpid(process, 0)
        raise UserError(f"mlrun warm: the server did not start: {answer.strip() or 'its process was killed'}")
    return process


def stop() -> bool:
    """Ends the server; commands that run in it are not affected. Returns whether there was one."""
    connection = connect()
    if connection is None:
        return False
    with connection:
        send(connection, {"end": True})
        return receive(connection) is not None


def is_running() -> bool:
    """Whether a server accepts commands."""
    connection = connect()
    if connection is None:
        return False
    connection.close()
    return True


def _serve(path: Path, lock: int, told: int, idle_seconds: float) -> NoReturn:
    """The server's process. It says "ready", or why it cannot start, through `told`."""
    try:
        os.setsid()
        sys.path[:] = shared_path()
        os.chdir("/")
        os.umask(0o077)
        before = fingerprint()  # of the files before they are imported
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # looking for a GPU must not initialize CUDA here
        _import_everything()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(64)
        os.write(told, b"ready")
        os.close(told)
        WarmServer(listener, lambda: fingerprint() == before, idle_seconds, lock).run()
        os._exit(0)
    except BaseException:
        os.write(told, traceback.format_exc().splitlines()[-1].encode())
    finally:
        os._exit(1)


def _import_everything() -> None:
    from mlrun.config.compose import CONF
    from mlrun.config.explain import explain
    from mlrun.config.hydra_internals import discover_plugins
    from mlrun.warm.modules import COMMON, LATE, configured_modules, own_modules, preload

    discover_plugins()
    with suppress(Exception):  # a command reports what is wrong
        explain([])  # the parsers of Hydra and omegaconf build their tables while they parse
    preload([*COMMON, *own_modules(), *LATE, *configured_modules(CONF)])
