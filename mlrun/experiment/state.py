"""What a run's directory says of the run: `run.json`, from which it can be gone on with. Also its lock: one process at a time."""

from __future__ import annotations

import json
import os
import secrets
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mlrun.errors import UserError

RECORD, LOCK = "run.json", "run.lock"
LOCK_SECONDS = 30.0  # a process that was killed may leave a recorder that still writes to MLflow


class Attempt:
    """`run.json` of a directory: `run_id`, `status`, `identity` (hash of the configuration), `key` (by which MLflow's run is found
    where its id never arrived), `cwd`, `tracking_uri`."""

    def __init__(self, directory: Path):
        self.path = Path(directory) / RECORD
        self._lock = threading.Lock()

    def earlier(self, identity: str, continues: bool) -> dict:
        """What stays of the directory's record. continues: whether this goes on with the run that the directory holds; else that one is
        forgotten. Raises UserError where MLflow has not got all of a run that would be forgotten."""
        from mlrun.tracking.spool import Spool

        earlier = read(self.path.parent)
        if continues or earlier.get("identity") == identity and earlier.get("status") != "FINISHED":
            return earlier
        if earlier and Spool(self.path.parent).exists:
            raise UserError(
                f"{self.path.parent} holds a run of which MLflow has not got everything: mlrun sync {self.path.parent}, or choose another hydra.run.dir"
            )
        self.path.unlink(missing_ok=True)
        return {}

    def begin(self, identity: str, earlier: dict) -> None:
        from mlrun.tracking.store import tracking_uri

        facts = {
            "status": "RUNNING",
            "identity": identity,
            "cwd": os.getcwd(),
            "tracking_uri": _without_password(tracking_uri()),
        }
        self._write({"key": secrets.token_hex(8), **earlier, **facts})

    @property
    def key(self) -> str:
        return read(self.path.parent)["key"]

    def note(self, **facts) -> None:
        with self._lock:
            self._write({**read(self.path.parent), **facts})

    def _write(self, content: dict) -> None:
        write_whole(self.path, json.dumps(content, indent=2))


def write_whole(path: Path, text: str) -> None:
    """Writes beside it and puts it into place: a kill leaves the old file or the new one."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def read(directory: Path | str) -> dict:
    """The content of `run.json`; empty where there is none."""
    try:
        return json.loads((Path(directory) / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise UserError(f"{Path(directory) / RECORD} cannot be read: {error}") from None


@contextmanager
def alone(directory: Path, seconds: float = LOCK_SECONDS):
    """Holds the directory's lock, which the kernel releases if this process dies. Raises UserError while another process has it."""
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


def is_alive(directory: Path) -> bool:
    """Whether a process is at work in a run's directory."""
    try:
        with alone(directory, seconds=0):
            return False
    except UserError:
        return True


def newest_unfinished(identity: str, root: Path | str) -> Path | None:
    """The newest run directory in `root` of this configuration that did not finish and that nobody works on."""
    found = sorted(((path.stat().st_mtime, path.parent) for path in Path(root).glob(f"*/{RECORD}")), reverse=True)
    for _, directory in found:
        record = read(directory)
        if record.get("identity") == identity and record.get("status") != "FINISHED" and not is_alive(directory):
            return directory
    return None


def tracking_address(record: dict) -> str:
    """Where the run is recorded: MLFLOW_TRACKING_URI, else what its record says. Raises UserError where a password is needed."""
    from mlrun.tracking.store import tracking_uri

    uri = record.get("tracking_uri")
    if os.environ.get("MLFLOW_TRACKING_URI", "").strip() or not uri:
        return tracking_uri()
    if ":***@" in uri:
        raise UserError(f"the run is recorded at {uri}: set MLFLOW_TRACKING_URI, with its password")
    return uri


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
