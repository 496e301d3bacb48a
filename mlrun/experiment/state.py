"""The state of a run as its directory holds it: `run.json` and the checkpoints from which it can resume."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlrun.config.passwords import masked
from mlrun.errors import UserError
from mlrun.tracking.run_directory import (
    RECORD,
    is_locked,
    read_record,
    this_process,
    update_record,
    write_record,
)
from mlrun.tracking.spool import Spool
from mlrun.tracking.store import tracking_uri

CHECKPOINTS = ("last.ckpt", "previous.ckpt", "best.ckpt", "last.json")  # in checkpoints/, the preferred one first


class RunState:
    """`run.json` of a directory.

    Its entries are `run_id` and `status` as in MLflow, `identity` (hash of the configuration), `key` (finds the MLflow run if its id
    never arrived), `cwd`, `tracking_uri` and `process`, which works or worked on the run. Its methods may be called from several threads.
    """

    def __init__(self, directory: Path):
        self.path = Path(directory) / RECORD
        self._lock = threading.Lock()

    def inherited(self, identity: str, resumes: bool) -> dict[str, Any]:
        """What a new attempt takes over from the run that the directory holds; nothing, if it is another run or has finished.

        Args:
            identity: hash of the new attempt's configuration.
            resumes: whether the user has asked to resume the run in this directory.

        Raises:
            UserError: MLflow has not received all data of a run that would be discarded.
        """
        record = read_record(self.path.parent)
        if resumes or record.get("identity") == identity and record.get("status") != "FINISHED":
            return record
        if record and Spool(self.path.parent).exists:
            raise UserError(
                f"{self.path.parent} holds a run that MLflow has not received completely: "
                f"mlrun sync {self.path.parent}, or choose another hydra.run.dir"
            )
        self.path.unlink(missing_ok=True)
        return {}

    def begin(self, identity: str | None, inherited: dict[str, Any]) -> None:
        """Records that an attempt is running. identity: None for a fold or a sweep, which is not a run that a user can repeat."""
        attempt = {
            "status": "RUNNING",
            "identity": identity,
            "cwd": os.getcwd(),
            "process": this_process(),
            "tracking_uri": masked(tracking_uri()),
        }
        with self._lock:
            write_record(self.path.parent, {"key": secrets.token_hex(8), **inherited, **attempt})

    @property
    def key(self) -> str:
        return read_record(self.path.parent)["key"]

    def update(self, **values: Any) -> None:
        """Sets some entries; the others stay."""
        with self._lock:
            update_record(self.path.parent, **values)


def newest_unfinished(identity: str, root: Path | str) -> Path | None:
    """The newest run directory in `root` whose run has this identity, has not finished and is not being worked on."""
    return _newest(root, identity.encode(), lambda record: record.get("identity") == identity and not _finished(record))


def last_run(root: Path | str, finished: bool) -> Path | None:
    """The newest run directory in `root` whose run has finished, or else was interrupted and is not being worked on; no sweeps, no folds."""
    return _newest(root, b"", lambda record: bool(record.get("identity")) and _finished(record) == finished)


def _finished(record: dict[str, Any]) -> bool:
    return record.get("status") == "FINISHED"


def _newest(root: Path | str, part: bytes, fits: Callable[[dict[str, Any]], bool]) -> Path | None:
    """The newest run directory whose record contains `part` and fits, unless a process works on an unfinished run there."""
    found = []
    for entry in _entries(root):
        path = os.path.join(entry, RECORD)
        with (
            suppress(OSError),
            open(path, "rb", buffering=0) as file,
        ):  # nothing is parsed, or asked for its time, that is of another run
            if part in file.read():
                found.append((os.stat(path).st_mtime_ns, Path(entry)))
    for _, directory in sorted(found, reverse=True):
        try:
            record = read_record(directory)
        except UserError:  # damaged
            continue
        if fits(record) and (_finished(record) or not is_locked(directory)):
            return directory
    return None


def _entries(root: Path | str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(root)]
    except OSError:
        return []


def newest_checkpoint(directory: Path) -> Path | None:
    """The checkpoint from which the run in `directory` resumes; None if it has not written one."""
    for name in CHECKPOINTS:
        if (directory / "checkpoints" / name).exists():
            return directory / "checkpoints" / name
    return None


def readable_checkpoint(directory: Path, trust: bool = False) -> Path | None:
    """The preferred one of the complete checkpoints in `directory`; None if there is none. trust: also read files that another user wrote."""
    found = (directory / "checkpoints" / name for name in CHECKPOINTS)
    return next((checkpoint for checkpoint in found if _is_readable(checkpoint, trust)), None)


def _is_readable(checkpoint: Path, trust: bool) -> bool:
    if not checkpoint.exists() or checkpoint.suffix != ".ckpt" or checkpoint.is_dir():
        return checkpoint.exists()
    from mlrun.training.checkpoints import read  # imports torch

    try:
        return bool(read(checkpoint, trust))
    except UserError:
        return False
