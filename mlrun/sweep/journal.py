"""A sweep's record in its directory: `sweep.json` (the command) and `jobs.jsonl` (a line whenever a job changes its state).

A line is written completely or, if the machine dies, not at all; the last line of a job counts. A sweep can resume whatever ended it.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlrun.data.readers.trust import has_signature, with_signature
from mlrun.errors import UserError
from mlrun.sweep import job as states
from mlrun.sweep.job import Job

SWEEP, JOBS = "sweep.json", "jobs.jsonl"


class Journal:
    """The record of one sweep."""

    def __init__(self, directory: Path | str):
        self.directory = Path(directory)
        self.sweep = _read_json(self.directory / SWEEP)
        self._places = array("q")  # where the last line of each job begins in the file; -1: nowhere
        self._jobs: dict[str, list[int]] = {}  # identity -> numbers of the jobs that an earlier attempt has recorded
        for place, entry in _lines(self.directory / JOBS):
            if not self._has(entry["number"]):
                self._jobs.setdefault(entry["identity"], []).append(entry["number"])
            self._note(entry["number"], place)

    @property
    def exists(self) -> bool:
        """Whether the directory holds a sweep."""
        return bool(self.sweep)

    def forget(self) -> None:
        """Removes the record, so that a new sweep can use the directory."""
        for name in (SWEEP, JOBS):
            (self.directory / name).unlink(missing_ok=True)
        self.sweep, self._places, self._jobs = {}, array("q"), {}

    def update(self, **values: Any) -> None:
        """Sets entries of `sweep.json`; the others stay."""
        self.directory.mkdir(parents=True, exist_ok=True)
        ours = not self.sweep or has_signature(self.sweep)  # that of somebody else stays without a signature
        self.sweep = {**self.sweep, **values}
        self.sweep = with_signature(self.sweep) if ours else self.sweep
        temporary = self.directory / f".{SWEEP}.{os.getpid()}"
        temporary.write_text(json.dumps(self.sweep, indent=2), encoding="utf-8")
        os.replace(temporary, self.directory / SWEEP)

    def write(self, job: Job) -> None:
        """Appends the state of a job."""
        entry = {
            "number": job.number,
            "folder": job.folder,
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
            "accepted": job.accepted,
            "result": {key: value for key, value in job.result.items() if key != "value"},
        }
        line = (json.dumps(entry, default=str) + "\n").encode()
        file = os.open(self.directory / JOBS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(file, line)
            self._note(job.number, os.lseek(file, 0, os.SEEK_CUR) - len(line))
        finally:
            os.close(file)

    def _has(self, number: int) -> bool:
        return 0 <= number < len(self._places) and self._places[number] >= 0

    def _note(self, number: int, place: int) -> None:
        if number >= len(self._places):
            self._places.extend([-1] * (number + 1 - len(self._places)))
        self._places[number] = place

    def entry(self, number: int) -> dict[str, Any] | None:
        """The last line of a job; None if it has none."""
        return next(self.read([number]), None)

    def read(self, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The last lines of these jobs, in this order; jobs without one are left out."""
        known = [number for number in numbers if self._has(number)]
        if not known:
            return
        with open(self.directory / JOBS, "rb") as file:
            for number in known:
                file.seek(self._places[number])
                yield json.loads(file.readline())

    def entries(self) -> Iterator[dict[str, Any]]:
        """The last line of every job, by number."""
        return self.read(range(len(self._places)))

    def result(self, job: Job) -> dict[str, Any]:
        """The result of a job that has ended; empty if it has none."""
        entry = self.entry(job.number)
        return entry["result"] if entry else {}

    def recall(self, identity: str) -> dict[str, Any] | None:
        """The entry of a job with this identity that an earlier attempt has recorded. The same one is not returned twice."""
        numbers = self._jobs.get(identity)
        return self.entry(numbers.pop(0)) if numbers else None

    def free_number(self, wanted: int, taken: Container[int]) -> int:
        """`wanted`, or the next free number if another job has it."""
        if wanted in taken or self._has(wanted):
            wanted = len(self._places)
            while wanted in taken:
                wanted += 1
        return wanted


def restore(job: Job, entry: dict[str, Any]) -> None:
    """Sets a job to the state that an earlier attempt of the sweep has recorded."""
    job.run_id, job.attempts = entry["run_id"], entry["attempts"]
    if entry["state"] in (states.FINISHED, states.PRUNED):
        job.state, job.earlier, job.reason = entry["state"], True, entry["reason"]
        job.returned, job.seconds = entry["objective"], entry["elapsed"]
        job.monitor, job.mode, job.epoch = entry["monitor"], entry["mode"], entry["epoch"]
        job.accepted = entry.get("accepted", True)  # absent in journals of earlier versions


def open_sweep(directory: Path | str) -> Journal:
    """The journal of an existing sweep. Raises UserError if the directory holds none."""
    journal = Journal(directory)
    if not journal.exists:
        raise UserError(f"{directory} is not the directory of a sweep: there is no {SWEEP} in it")
    return journal


def latest(argv: Sequence[str], root: Path | str = "outputs") -> Path | None:
    """The newest sweep directory in `root` that the same command line has made."""
    found = [(path.stat().st_mtime, path.parent) for path in Path(root).glob(f"*/{SWEEP}")]
    for _, directory in sorted(found, reverse=True):
        if _read_json(directory / SWEEP).get("argv") == list(argv):
            return directory
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(where it begins, content) of every complete line."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        place = 0
        for line in file:
            try:
                yield place, json.loads(line)
            except ValueError:  # the machine died while writing it
                pass
            place += len(line)
