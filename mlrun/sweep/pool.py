"""Runs jobs on slots as these become free, and records where each job runs and how it ended."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mlrun.sweep import job as states
from mlrun.sweep.job import Job, memory_kills, reason_of_death
from mlrun.sweep.server import Request, Server, Unsendable
from mlrun.sweep.slots import Slot, Slots

TICK = 0.25  # seconds between two checks of the time limits
GRACE = 20.0  # seconds that a job has to close its run after it was asked to stop
AHEAD = 4  # processes prepared at most for slots that will become free; each costs some memory


class Pool:
    """A queue of jobs in front of slots.

    Listeners are notified of every change through the methods that they have: started(job), opened(job), epoch(job), ended(job),
    tick(pool). `epoch` may return "prune".

    Args:
        request: what a job's process needs to know.
        environment: the variables that select a job's devices, once it has its slots.
        timeout: seconds that a job may take.
        fail_fast: whether the first failure ends the sweep.
        grace: seconds between asking a job to stop and killing it.
    """

    def __init__(
        self,
        server: Server,
        slots: Slots,
        request: Callable[[Job], Request],
        environment: Callable[[Job], dict[str, str]],
        timeout: float | None = None,
        fail_fast: bool = False,
        grace: float = GRACE,
    ):
        self.server, self.slots, self.request, self.environment = server, slots, request, environment
        self.timeout, self.fail_fast, self.grace = timeout, fail_fast, grace
        self.running: dict[int, Job] = {}
        self.prepared: set[int] = set()  # numbers of jobs whose processes wait for their turn
        self.perished: set[int] = set()  # jobs whose process died while it waited; they get another one in their turn
        self.listeners: list[Any] = []
        self.interrupts: list[int] = []  # the signals that have asked to stop: Ctrl-C, SIGTERM
        self.draining = False  # no further job is started
        self._memory_kills = memory_kills()

    def run(self, jobs: Iterable[Job], ahead: bool = True) -> None:
        """Runs all jobs to their end.

        Args:
            ahead: whether processes are prepared for jobs that have no slot yet. Otherwise the next job is taken from `jobs` only
                when a slot is free, so that a search can learn from earlier ones.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when all jobs have closed their runs; a second Ctrl-C does not wait for that.
            SystemExit: in the same way after SIGTERM.
        """
        jobs = iter(jobs)
        queue: deque[Job] = deque()
        spare = min(AHEAD, len(self.slots.all)) if ahead else 0
        with self._signals():
            while not self.draining:
                while self.slots.free and (queue or self._fetch(jobs, queue)):
                    slots = self.slots.take(queue[0].demand.kind, queue[0].demand.count)
                    if slots is None:
                        break  # first come, first served: smaller jobs must not overtake a wide one forever
                    self._start(queue.popleft(), slots)
                while len(queue) < spare and self._fetch(jobs, queue):
                    pass
                for job in queue:
                    if job.number not in self.perished:
                        self._prepare(job)
                if not self.running:
                    break
                self._wait()
            while self.running:
                self._wait()
            if self.interrupts:
                number = self.interrupts[0]
                raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    @staticmethod
    def _fetch(jobs: Iterator[Job], queue: deque[Job]) -> bool:
        """Moves the next job into the queue. Returns whether there was one."""
        job = next(jobs, None)
        queue.extend([] if job is None else [job])
        return job is not None

    def _wait(self) -> None:
        self._receive(TICK)
        self._check_limits()

    def _prepare(self, job: Job) -> None:
        if job.number not in self.prepared:
            self.prepared.add(job.number)
            self.server.prepare(self.request(job))

    def _start(self, job: Job, slots: list[Slot]) -> None:
        self._prepare(job)
        self.prepared.remove(job.number)
        job.slots, job.state, job.started, job.attempts = slots, states.RUNNING, time.monotonic(), job.attempts + 1
        self.running[job.number] = job
        self.server.go(job.number, self.environment(job))
        self._notify("started", job)

    def stop(self, job: Job, state: str, reason: str, signum: int = signal.SIGINT) -> None:
        """Asks a job to end. It closes its run, or is killed after `grace` seconds."""
        if job.stop_reason is None:
            job.stop_reason = (state, reason)
            job.kill_at = time.monotonic() + self.grace
            self.server.signal(job.number, signum)

    def lose(self, reason: str) -> None:
        """Ends the running jobs as failed: their processes have died with the server."""
        for job in list(self.running.values()):
            job.state, job.reason = states.FAILED, reason
            self._ended(job)

    def _receive(self, seconds: float) -> None:
        report = self.server.receive(seconds)
        while report is not None:
            self._handle(*report)
            report = self.server.receive(0)

    def _handle(self, kind: str, number: int, payload: Any) -> None:
        job = self.running.get(number)
        if job is None:
            if kind == "exited" and number in self.prepared:
                self.prepared.remove(number)
                self.perished.add(number)
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
                if job.demand.kind == "cpu":  # a GPU's memory is free when the process is gone
                    self._ended(job)
        elif kind in ("failed", "interrupted", "pruned"):
            job.state, job.reason = (states.KILLED if kind == "interrupted" else kind), payload
        elif kind == "exited":
            self._exited(job, payload)

    def _exited(self, job: Job, status: int) -> None:
        kills = memory_kills()
        if job.state == states.RUNNING:  # it died without a report
            job.state, job.reason = reason_of_death(status, kills - self._memory_kills, job.log)
        self._memory_kills = kills
        if job.stop_reason and job.state != states.FINISHED:
            job.state, job.reason = job.stop_reason
        self._ended(job)

    def _ended(self, job: Job) -> None:
        job.seconds = job.elapsed_since_start
        del self.running[job.number]
        self.slots.release(job.slots)
        self._notify("ended", job)
        if self.fail_fast and job.state in (states.FAILED, states.KILLED):
            self.draining = True
            for other in self.running.values():
                self.stop(other, states.KILLED, f"stopped, because job {job.number} failed (fail_fast)")

    def _check_limits(self) -> None:
        now = time.monotonic()
        for job in self.running.values():
            if self.interrupts:
                self.stop(job, states.KILLED, "stopped by the user")
            elif self.timeout and job.elapsed_since_start > self.timeout:
                self.stop(job, states.FAILED, f"over its time limit of {self.timeout:g} s (hydra.launcher.timeout)")
            if job.kill_at and (now > job.kill_at or len(self.interrupts) > 1):
                self.server.signal(job.number, signal.SIGKILL)
                job.kill_at = now + 1
        self._notify("tick", self)

    def _notify(self, event: str, subject: Job | Pool) -> list[Any]:
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
