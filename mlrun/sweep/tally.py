"""Counts of a sweep's jobs, kept up to date by events: nothing that happens to one job takes longer because there are many."""

from __future__ import annotations

from collections import Counter, deque
from itertools import chain, islice

from mlrun.sweep import job as states
from mlrun.sweep.job import Job

ORDER = (states.FAILED, states.KILLED, states.RUNNING, states.FINISHED, states.PRUNED, states.WAITING)
RECENT = 200  # jobs that ended last, for the live table


class Tally:
    """How far a sweep is. `add` every job; then it is a listener of the queue, which must come before those that read it."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.running: dict[int, Job] = {}
        self.recent: deque[Job] = deque(maxlen=RECENT)
        self.attempts = 0  # that have ended
        self.earlier = 0  # jobs that ended in an earlier attempt of the sweep
        self.finished_seconds, self.finished_now = 0.0, 0  # total time and number of jobs that finished in this attempt
        self.best: dict[str, Job] = {}  # watched metric -> the best finished job within the limits
        self._counts: Counter[str] = Counter()
        self.requeued: dict[int, Job] = {}  # jobs that wait because their machine was lost
        self._first_waiting = 0  # jobs before this place have been started

    def add(self, job: Job) -> None:
        """A job that is part of the sweep, in whatever state an earlier attempt has left it."""
        self.jobs.append(job)
        self._counts[job.state] += 1
        self.attempts += job.attempts
        self.earlier += job.earlier
        self._compare(job)

    def replace(self, old: Job, new: Job) -> None:
        """Puts a job that runs again in the place of what an earlier attempt has left of it."""
        place = next(place for place, job in enumerate(self.jobs) if job is old)
        self.jobs[place] = new
        self._move(old.state, new.state)
        self.earlier += new.earlier - old.earlier

    @property
    def counts(self) -> dict[str, int]:
        """Number of jobs in each state; states without jobs are left out."""
        return {state: self._counts[state] for state in ORDER if self._counts[state]}

    @property
    def count_text(self) -> str:
        """`1 failed, 3 finished`."""
        return ", ".join(f"{count} {state}" for state, count in self.counts.items())

    def waiting(self, most: int) -> list[Job]:
        """The jobs that come next, at most so many."""
        while self._first_waiting < len(self.jobs) and self.jobs[self._first_waiting].state != states.WAITING:
            self._first_waiting += 1
        never_started = (
            job for job in islice(self.jobs, self._first_waiting, None)
            if job.state == states.WAITING and job.number not in self.requeued
        )  # fmt: skip
        return list(islice(chain(self.requeued.values(), never_started), most))

    # --- listener of the queue -------------------------------------------------------------------------------------

    def started(self, job: Job) -> None:
        self._move(states.WAITING, states.RUNNING)
        self.requeued.pop(job.number, None)
        self.running[job.number] = job

    def lost(self, job: Job) -> None:
        self._move(states.RUNNING, states.WAITING)
        self.requeued[job.number] = self.running.pop(job.number)
        self.attempts += 1

    def ended(self, job: Job) -> None:
        self._move(states.RUNNING, job.state)
        del self.running[job.number]
        self.recent.append(job)
        self.attempts += 1
        if job.state == states.FINISHED:
            self.finished_seconds += job.seconds
            self.finished_now += 1
        self._compare(job)

    def _move(self, before: str, after: str) -> None:
        self._counts[before] -= 1
        self._counts[after] += 1

    def _compare(self, job: Job) -> None:
        if job.state != states.FINISHED or not job.accepted or job.objective is None:
            return
        best = self.best.get(job.monitor)
        if best is None or job.rank < best.rank:
            self.best[job.monitor] = job
