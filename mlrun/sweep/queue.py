"""The queue of a sweep: starts jobs as an executor has room for them, and records where each job runs and how it ended."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mlrun.sweep import job as states
from mlrun.sweep.executors.executor import Executor
from mlrun.sweep.job import GRACE, Job
from mlrun.sweep.server import Request, Unsendable

TICK = 0.25  # seconds between two checks of the time limits


class Queue:
    """Jobs in front of an executor.

    Listeners are notified of every change through the methods that they have: started(job), opened(job), epoch(job), lost(job),
    ended(job), tick(queue). `epoch` may return "prune".

    Args:
        request: what a job's process needs to know.
        timeout: seconds that a job may take.
        fail_fast: whether the first failure ends the sweep.
        retries: how often a job starts again because its machine was lost.
        grace: seconds between asking a job to stop and killing it.
    """

    def __init__(
        self,
        executor: Executor,
        request: Callable[[Job], Request],
        timeout: float | None = None,
        fail_fast: bool = False,
        retries: int = 0,
        grace: float = GRACE,
    ):
        self.executor, self.request = executor, request
        self.timeout, self.fail_fast, self.retries, self.grace = timeout, fail_fast, retries, grace
        self.running: dict[int, Job] = {}
        self.waiting: deque[Job] = deque()  # jobs that come next; more may follow
        self.listeners: list[Any] = []
        self.interrupts: list[int] = []  # the signals that have asked to stop: Ctrl-C, SIGTERM
        self.draining = False  # no further job is started
        self._exhausted = False  # no further job follows those that wait
        self._checked = 0.0  # time of the last check of the limits

    def run(self, jobs: Iterable[Job], ahead: bool = True) -> None:
        """Runs all jobs to their end.

        Args:
            ahead: whether processes are prepared for jobs that have no place yet. Otherwise the next job is taken from `jobs` only
                when there is room for it, so that a search can learn from earlier ones.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when all jobs have closed their runs; a second Ctrl-C does not wait for that.
            SystemExit: in the same way after SIGTERM.
        """
        jobs = iter(jobs)
        spare = self.executor.ahead if ahead else 0
        with self._signals():
            while not self.draining:
                while self.waiting or (self.executor.has_room and self._fetch(jobs)):
                    if not self.executor.place(self.waiting[0]):
                        break  # first come, first served: smaller jobs must not overtake a wide one forever
                    self._start(self.waiting.popleft())
                while len(self.waiting) < spare and self._fetch(jobs):
                    pass
                for job in self.waiting:
                    self.executor.prepare(job, lambda: self.request(job))
                if self._exhausted and not self.running and not self.waiting:
                    break
                self._wait()
            while self.running:
                self._wait()
            if self.interrupts:
                number = self.interrupts[0]
                raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    def _fetch(self, jobs: Iterator[Job]) -> bool:
        """Moves the next job into the queue. Returns whether there was one."""
        job = next(jobs, None)
        if job is None:
            self._exhausted = True
            return False
        self.waiting.append(job)
        return True

    def _wait(self) -> None:
        for report in self.executor.receive(TICK):
            self._handle(*report)
        now = time.monotonic()
        if now - self._checked >= TICK or self.interrupts:
            self._checked = now
            self._check_limits(now)

    def _start(self, job: Job) -> None:
        job.state, job.started, job.attempts = states.RUNNING, time.monotonic(), job.attempts + 1
        self.running[job.number] = job
        self.executor.start(job, lambda: self.request(job))
        self._notify("started", job)

    def stop(self, job: Job, state: str, reason: str, signum: int = signal.SIGINT) -> None:
        """Asks a job to end. It closes its run, or is killed after `grace` seconds."""
        if job.stop_reason is None:
            job.stop_reason = (state, reason)
            job.kill_at = time.monotonic() + self.grace
            self.executor.signal(job.number, signum)

    def drain(self, reason: str) -> None:
        """Starts no further job, and asks the running ones to end."""
        self.draining = True
        for job in self.running.values():
            self.stop(job, states.KILLED, reason)

    def lose(self, reason: str) -> None:
        """Ends the running jobs as failed: their processes have died with the executor."""
        for job in list(self.running.values()):
            job.state, job.reason = states.FAILED, reason
            self._ended(job)

    def _handle(self, kind: str, number: int, payload: Any) -> None:
        job = self.running.get(number)
        if job is None:
            return
        if kind == "run":
            job.run_id = payload
            self._notify("opened", job)
        elif kind == "training":
            job.total_epochs, job.monitor, job.mode = (
                payload["total_epochs"],
                payload["monitor"] or "",
                payload["mode"] or "max",
            )
        elif kind == "epoch":
            job.epoch, value = payload
            job.watched = value if value is not None else job.watched
            if "prune" in self._notify("epoch", job):
                self.stop(job, states.PRUNED, f"pruned after epoch {job.epoch}", signal.SIGUSR1)
        elif kind == "result":
            job.result, job.run_id = payload, payload["run_id"] or job.run_id
            job.monitor, job.mode = payload["monitor"], payload["mode"]
        elif kind == "finished":
            if isinstance(payload, Unsendable):
                job.state, job.reason = states.FAILED, f"its result is lost: {payload.why}"
            else:
                job.state, job.returned, job.result = states.FINISHED, payload["value"], {**job.result, **payload}
                # a GPU's memory is free only when the process is gone, and several machines when all processes are
                if job.demand.kind == "cpu" and job.demand.nodes == 1:
                    self._ended(job)
        elif kind in ("failed", "interrupted", "pruned"):
            job.state, job.reason = (states.KILLED if kind == "interrupted" else kind), payload
        elif kind == "exited":
            if job.state == states.RUNNING:  # it died without a report
                job.state, job.reason = payload
            if job.stop_reason and job.state != states.FINISHED:
                job.state, job.reason = job.stop_reason
            self._ended(job)
        elif kind == "lost":
            self._lost(job, payload)

    def _lost(self, job: Job, reason: str) -> None:
        """The machine of a job is gone. The job waits for another one, unless it was to stop or has lost too many."""
        if job.stop_reason or self.draining or job.losses >= self.retries:
            if job.state == states.RUNNING:
                job.state, job.reason = job.stop_reason or (states.FAILED, reason)
            return self._ended(job)
        if job.state != states.RUNNING:  # it had ended before
            return self._ended(job)
        del self.running[job.number]
        self.executor.release(job)
        job.losses += 1
        job.state, job.reason, job.slots, job.started = states.WAITING, reason, (), None
        self.waiting.appendleft(job)
        self._notify("lost", job)

    def _ended(self, job: Job) -> None:
        job.seconds = job.elapsed_since_start
        del self.running[job.number]
        self.executor.release(job)
        self._notify("ended", job)
        if self.fail_fast and job.state in (states.FAILED, states.KILLED):
            self.drain(f"stopped, because job {job.number} failed (fail_fast)")

    def _check_limits(self, now: float) -> None:
        for job in self.running.values():
            if self.interrupts:
                self.stop(job, states.KILLED, "stopped by the user")
            elif self.timeout and job.elapsed_since_start > self.timeout:
                self.stop(job, states.FAILED, f"exceeded its time limit of {self.timeout:g} s (hydra.launcher.timeout)")
            if job.kill_at and (now > job.kill_at or len(self.interrupts) > 1):
                self.executor.signal(job.number, signal.SIGKILL)
                job.kill_at = now + 1
        self._notify("tick", self)

    def _notify(self, event: str, subject: Job | Queue) -> list[Any]:
        """Calls the method `event` of all listeners that have it. Returns what they return."""
        return [getattr(listener, event)(subject) for listener in self.listeners if hasattr(listener, event)]

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Notes Ctrl-C and SIGTERM; the next check of the limits acts on them."""

        def note(number: int, _: Any) -> None:
            self.interrupts.append(number)
            self.draining = True

        before = {}
        for signum in (signal.SIGINT, signal.SIGTERM):
            try:
                before[signum] = signal.signal(signum, note)
            except ValueError:  # not in the main thread
                pass
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
