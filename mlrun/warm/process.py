"""A process forked from the warm server becomes the process of a command."""

from __future__ import annotations

import atexit
import fcntl
import importlib
import importlib.util
import os
import runpy
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from mlrun.warm import client

_OUTPUT = {"stdout": 1, "stderr": 2}


def run_command(command: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Runs a command as `python -m mlrun` does and ends this process.

    Args:
        command: see `mlrun.warm.client.this_command`.
        descriptors: those that came with it.
    """
    status = 1
    try:
        _adopt(command, descriptors)
        runpy.run_module("mlrun", run_name="__main__")
        status = 0
    except SystemExit as end:
        status = _status_of(end)
    except BaseException:  # `main` handles whatever a command raises
        traceback.print_exc()
    finally:
        try:
            status = _finish(status)
        except KeyboardInterrupt:  # as in an interpreter that ends
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os._exit(status)


def _adopt(command: dict[str, Any], descriptors: list[int]) -> None:
    client.in_server = True
    _place(descriptors[1:], command["numbers"])
    os.fchdir(descriptors[0])
    os.close(descriptors[0])
    os.umask(command["umask"])
    os.environ.clear()
    os.environ.update(command["environment"])
    for number in command["ignored"]:
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    _open_streams(command["streams"])
    sys.argv[:], sys.path[:] = command["argv"], command["path"]
    # Lightning starts the further processes of a distributed run with the command line that this describes
    sys.modules["__main__"].__spec__ = importlib.util.find_spec(command["module"]) if command["module"] else None
    importlib.invalidate_caches()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # its state would be the same in every command


def _place(descriptors: list[int], numbers: list[int]) -> None:
    """Gives descriptors the numbers that they have in the caller."""
    above = max(*numbers, *descriptors) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(moved, numbers):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _open_streams(settings: dict[str, dict[str, Any]]) -> None:
    def opened(name: str, number: int, mode: str, newline: str | None) -> Any:
        own = settings[name]
        stream: Any = open(number, mode, encoding=own["encoding"], errors=own["errors"], newline=newline, closefd=False)
        stream.reconfigure(line_buffering=own["line_buffering"], write_through=own["write_through"])
        return stream

    sys.stdin = sys.__stdin__ = opened("stdin", 0, "r", None)  # type: ignore[misc]
    for name, number in _OUTPUT.items():
        stream = opened(name, number, "w", "\n")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _status_of(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _finish(status: int) -> int:
    """What the interpreter does at its end, but for freeing memory. Returns the exit status."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 120  # as in an interpreter that ends
    return status & 0xFF
