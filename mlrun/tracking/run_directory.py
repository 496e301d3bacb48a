"""A run's directory: `run.json`, which records the state of the run and its MLflow run, and the lock of the process that works there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlrun.config.passwords import is_masked
from mlrun.data.readers.trust import has_signature, with_signature
from mlrun.errors import UserError
from mlrun.tracking.store import tracking_uri

RECORD, LOCK = "run.json", "run.lock"
LOCK_SECONDS = 30.0  # the recorder of a process that was killed may still be writing to MLflow


def read_record(directory: Path | str) -> dict[str, Any]:
    """The content of `run.json`; empty if there is no such file. Raises UserError if it is damaged."""
    path = Path(directory) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    texts = ("run_id", "status", "identity", "key", "cwd", "tracking_uri")
    if not isinstance(record, dict) or not all(isinstance(record.get(name, ""), (str, type(None))) for name in texts):
        raise UserError(f"{path} is damaged: it is not the record of a run")
    return record


def write_record(directory: Path | str, record: dict[str, Any]) -> None:
    """Replaces the content of `run.json`, which is signed: another process enters the directory that it names."""
    write_atomically(Path(directory) / RECORD, json.dumps(with_signature(record), indent=2))


def update_record(directory: Path | str, **values: Any) -> None:
    """Sets some entries of `run.json`. The caller makes sure that no other thread or process writes at the same time.

    A record that somebody else wrote stays without a signature.
    """
    record = read_record(directory)
    if record and not has_signature(record):
        write_atomically(Path(directory) / RECORD, json.dumps({**record, **values}, indent=2))
    else:
        write_record(directory, {**record, **values})


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a kill at any moment leaves either the old content or the new one."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


@contextmanager
def locked(directory: Path, seconds: float = LOCK_SECONDS, is_ending: bool = False) -> Iterator[None]:
    """Holds the directory's lock, which the kernel releases if this process and its recorder have ended.

    Args:
        seconds: how long to wait for the recorder of a process that has ended.
        is_ending: also wait for a process that lives, because it is being killed.

    Raises:
        UserError: another process works in the directory.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            waits = is_ending or not _is_alive(read_record(directory).get("process"))
            lock.acquire(timeout=seconds if waits else 0)
        except Timeout:
            raise UserError(
                f"{directory}: this run is still active in another process; stop that process, or wait until it ends"
            ) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(directory: Path) -> bool:
    """Whether a process is working in a run's directory."""
    try:
        with locked(directory, seconds=0):
            return False
    except UserError:
        return True


def this_process() -> dict[str, Any]:
    """What identifies this process as long as it lives: an entry of `run.json`."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _start_of(os.getpid())}


def _is_alive(process: dict[str, Any] | None) -> bool:
    """Whether a process that `this_process` described is known to live. A process on another machine is not."""
    if not isinstance(process, dict) or process.get("host") != socket.gethostname():
        return False
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    except (KeyError, TypeError, OverflowError):
        return False
    return process.get("started") == _start_of(process["pid"])


def _start_of(pid: int) -> str:
    """When a process began, in the kernel's clock ticks: another process may get its id later. Empty for a process that has ended."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]


def tracking_address(record: dict[str, Any], trust: bool = False) -> str:
    """The URI at which a run is recorded: MLFLOW_TRACKING_URI, else the one in its record.

    Args:
        record: the content of `run.json`.
        trust: also use the URI in the record of another user.

    Raises:
        UserError: a password is missing, or the record is such a one and not trusted.
    """
    uri = record.get("tracking_uri")
    if os.environ.get("MLFLOW_TRACKING_URI", "").strip() or not uri or uri == tracking_uri():
        return tracking_uri()
    if not (trust or has_signature(record)):
        raise UserError(
            f"{RECORD} of this run was not written by you, and names the server {uri}: set MLFLOW_TRACKING_URI, "
            "or add trust=true if you trust where it comes from"
        )
    if is_masked(uri):
        raise UserError(f"the run is recorded at {uri}: set MLFLOW_TRACKING_URI, with its password")
    return uri
