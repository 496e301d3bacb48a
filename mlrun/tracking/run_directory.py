"""A run's directory: `run.json`, which records how the run stands and where MLflow holds it, and the lock of the process that works there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mlrun.errors import UserError
from mlrun.tracking.store import tracking_uri

RECORD, LOCK = "run.json", "run.lock"
LOCK_SECONDS = 30.0  # the recorder of a process that was killed may still be writing to MLflow


def read_record(directory: Path | str) -> dict[str, Any]:
    """The content of `run.json`; empty if there is no such file. Raises UserError if it cannot be parsed."""
    try:
        return json.loads((Path(directory) / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise UserError(f"{Path(directory) / RECORD} cannot be read: {error}") from None


def write_record(directory: Path | str, record: dict[str, Any]) -> None:
    """Replaces the content of `run.json`."""
    write_atomically(Path(directory) / RECORD, json.dumps(record, indent=2))


def update_record(directory: Path | str, **values: Any) -> None:
    """Sets some entries of `run.json`. The caller makes sure that no other thread or process writes at the same time."""
    write_record(directory, {**read_record(directory), **values})


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a kill at any moment leaves either the old content or the new one."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


@contextmanager
def locked(directory: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Holds the directory's lock, which the kernel releases if this process dies.

    Args:
        seconds: how long to wait for another process to release it.

    Raises:
        UserError: another process still holds the lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise UserError(f"{directory}: this run is still going on in another process") from None
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


def tracking_address(record: dict[str, Any]) -> str:
    """The URI at which a run is recorded: MLFLOW_TRACKING_URI, else the one in its record. Raises UserError if a password is missing."""
    uri = record.get("tracking_uri")
    if os.environ.get("MLFLOW_TRACKING_URI", "").strip() or not uri:
        return tracking_uri()
    if ":***@" in uri:
        raise UserError(f"the run is recorded at {uri}: set MLFLOW_TRACKING_URI, with its password")
    return uri


def without_password(uri: str) -> str:
    """The URI as it may be written to disk: `***` in place of a password."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
