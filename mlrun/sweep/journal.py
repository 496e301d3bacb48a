"""What a sweep's directory remembers of it: `sweep.json` (the command) and `jobs.jsonl` (a line whenever a job changes its state).

A line is written whole or, if the machine dies, not at all; the last line about a job counts. So a sweep can be resumed whatever ended it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from mlrun.errors import UserError
from mlrun.sweep import job as states
from mlrun.sweep.job import Job

SWEEP, JOBS = "sweep.json", "jobs.jsonl"


class Journal:
    """The books of one sweep."""

    def __init__(self, directory: Path | str):
        self.directory = Path(directory)
        self.sweep = _read_json(self.directory / SWEEP)
        self.entries: dict[int, dict] = {}  # job number -> its last line
        for entry in _lines(self.directory / JOBS):
            self.entries[entry["number"]] = entry

    @property
    def exists(self) -> bool:
        return bool(self.sweep)

    def forget(self) -> None:
        """Begins anew in this directory."""
        for name in (SWEEP, JOBS):
            (self.directory / name).unlink(missing_ok=True)
        self.sweep, self.entries = {}, {}

    def begin(self, **facts) -> None:
        """Writes what concerns the whole sweep; what was known before stays."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.sweep = {**self.sweep, **facts}
        temporary = self.directory / f".{SWEEP}.{os.getpid()}"
        temporary.write_text(json.dumps(self.sweep, indent=2), encoding="utf-8")
        os.replace(temporary, self.directory / SWEEP)

    def write(self, job: Job) -> None:
        entry = {
            "number": job.number,
            "overrides": job.overrides,
            "identity": job.identity,
            "state": job.state,
            "reason": job.reason,
            "slots": [str(slot) for slot in job.slots],
            "devices": [slot.device for slot in job.slots if slot.device],
            "run_id": job.run_id,
            "attempts": job.attempts,
            "elapsed": round(job.seconds, 3),
            "epoch": job.epoch,
            "objective": job.objective,
            "monitor": job.monitor,
            "mode": job.mode,
            "result": {key: value for key, value in job.result.items() if key != "value"},
        }
        self.entries[job.number] = entry
        line = (json.dumps(entry, default=str) + "\n").encode()
        file = os.open(self.directory / JOBS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def recall(self, identity: str, taken: set[int]) -> dict | None:
        """The entry of a job with this identity that no other job has claimed."""
        for number, entry in self.entries.items():
            if entry["identity"] == identity and number not in taken:
                return entry
        return None

    def free_number(self, wanted: int, taken: set[int]) -> int:
        """`wanted` unless another job has that number, else the next free one."""
        used = taken | set(self.entries)
        while wanted in used:
            wanted = max(used) + 1
        return wanted


def restore(job: Job, entry: dict) -> None:
    """Gives a job what an earlier command found out about it."""
    job.run_id, job.attempts = entry["run_id"], entry["attempts"]
    if entry["state"] in (states.FINISHED, states.PRUNED):
        job.state, job.earlier, job.reason = entry["state"], True, entry["reason"]
        job.returned, job.result, job.seconds = entry["objective"], entry["result"], entry["elapsed"]
        job.monitor, job.mode, job.epoch = entry["monitor"], entry["mode"], entry["epoch"]


def open_sweep(directory: Path | str) -> Journal:
    """The journal of an existing sweep. Raises UserError if the directory is none."""
    journal = Journal(directory)
    if not journal.exists:
        raise UserError(f"{directory} is not the directory of a sweep: there is no {SWEEP} in it")
    return journal


def latest(argv: list[str], root: Path | str = "outputs") -> Path | None:
    """The newest sweep directory in `root` that was made by the same command line."""
    found = [(path.stat().st_mtime, path.parent) for path in Path(root).glob(f"*/{SWEEP}")]
    for _, directory in sorted(found, reverse=True):
        if _read_json(directory / SWEEP).get("argv") == list(argv):
            return directory
    return None


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _lines(path: Path):
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the machine died while it was written
            continue
