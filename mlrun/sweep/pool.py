"""Runs jobs on slots as these become free, and keeps the books: who runs where, who ended how."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from mlrun.sweep import job as states
from mlrun.sweep.job import Job, memory_kills, reason_of_death
from mlrun.sweep.server import Server, Unsendable
from mlrun.sweep.slots import Slots

TICK = 0.25  # seconds between two looks at the clock
GRACE = 20.0  # seconds that a job has to close its run after it was told to stop
AHEAD = 4  # at most so many processes are prepared for slots that will become free; each costs some memory


class Pool:
    """A queue of jobs in front of slots.

    listeners hear of every change by the methods they have: started(job), opened(job), epoch(job), ended(job), tick(pool);
    `epoch` may answer "prune". timeout: seconds that a job may take; fail_fast: the first failure ends the sweep; request(job) -> Request;
    environment(job): variables that depend on its slots.
    """

    def __init__(
        self,
        server: Server,
        slots: Slots,
        request,
        environment,
        timeout: float | None = None,
        fail_fast: bool = False,
        grace: float = GRACE,
    ):
        self.server, self.slots, self.request, self.environment = server, slots, request, environment
        self.timeout, self.fail_fast, self.grace = timeout, fail_fast, grace
        self.running: dict[int, Job] = {}
        self.prepared: set[int] = set()  # numbers of jobs whose processes wait for their turn
        self.perished: set[int] = set()  # whose process did not live to see it; it gets another one then
        self.listeners: list = []
        self.interrupts = 0
        self.draining = False  # no further job is started
        self._memory_kills = memory_kills()

    def run(self, jobs: Iterator[Job], ahead: bool = True) -> None:
        """Until all jobs have ended. Where `ahead` is false, `jobs` is asked for the next one only when a slot is free: a search learns in between.

        Raises KeyboardInterrupt after Ctrl-C or SIGTERM, when all jobs have closed their runs; a second Ctrl-C does not wait for that.
        """
        jobs = iter(jobs)
        queue: deque[Job] = deque()
        spare = min(AHEAD, len(self.slots.all)) if ahead else 0
        with self._signals():
            while not self.draining:
                while self.slots.free and (queue or self._ask(jobs, queue)):
                    slots = self.slots.take(queue[0].demand.kind, queue[0].demand.count)
                    if slots is None:
                        break  # first come, first served: a wide job is not overtaken for ever
                    self._start(queue.popleft(), slots)
                while len(queue) < spare and self._ask(jobs, queue):
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
                raise KeyboardInterrupt

    @staticmethod
    def _ask(jobs: Iterator[Job], queue: deque[Job]) -> bool:
        """Whether there was a next job."""
        job = next(jobs, None)
        queue.extend([] if job is None else [job])
        return job is not None

    def _wait(self) -> None:
        self._listen(TICK)
        self._look_at_clock()

    def _prepare(self, job: Job) -> None:
        if job.number not in self.prepared:
            self.prepared.add(job.number)
            self.server.prepare(self.request(job))

    def _start(self, job: Job, slots) -> None:
        self._prepare(job)
        self.prepared.remove(job.number)
        job.slots, job.state, job.started, job.attempts = slots, states.RUNNING, time.monotonic(), job.attempts + 1
        self.running[job.number] = job
        self.server.go(job.number, self.environment(job))
        self._tell("started", job)

    def stop(self, job: Job, state: str, reason: str, signum: int = signal.SIGINT) -> None:
        """Tells a job to end; it closes its run, or is killed after `grace` seconds."""
        if job.stop_reason is None:
            job.stop_reason = (state, reason)
            job.kill_at = time.monotonic() + self.grace
            self.server.signal(job.number, signum)

    def _listen(self, seconds: float) -> None:
        report = self.server.receive(seconds)
        while report is not None:
            self._take(*report)
            report = self.server.receive(0)

    def _take(self, kind: str, number: int, payload) -> None:
        job = self.running.get(number)
        if job is None:
            if kind == "exited" and number in self.prepared:
                self.prepared.remove(number)
                self.perished.add(number)
            return
        if kind == "run":
            job.run_id = payload
            self._tell("opened", job)
        elif kind == "training":
            job.total_epochs, job.monitor, job.mode = (
                payload["total_epochs"],
                payload["monitor"] or "",
                payload["mode"] or "max",
            )
        elif kind == "epoch":
            job.epoch, value = payload
            job.watched = value if value is not None else job.watched
            if "prune" in self._tell("epoch", job):
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
        if job.state == states.RUNNING:  # it had no chance to say anything
            job.state, job.reason = reason_of_death(status, kills - self._memory_kills, job.log)
        self._memory_kills = kills
        if job.stop_reason and job.state != states.FINISHED:
            job.state, job.reason = job.stop_reason
        self._ended(job)

    def _ended(self, job: Job) -> None:
        job.seconds = time.monotonic() - job.started
        del self.running[job.number]
        self.slots.give_back(job.slots)
        self._tell("ended", job)
        if self.fail_fast and job.state in (states.FAILED, states.KILLED):
            self.draining = True
            for other in self.running.values():
                self.stop(other, states.KILLED, f"stopped, because job {job.number} failed (fail_fast)")

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        for job in self.running.values():
            if self.interrupts:
                self.stop(job, states.KILLED, "stopped by the user")
            elif self.timeout and now - job.started > self.timeout:
                self.stop(job, states.FAILED, f"over its time limit of {self.timeout:g} s (hydra.launcher.timeout)")
            if job.kill_at and (now > job.kill_at or self.interrupts > 1):
                self.server.signal(job.number, signal.SIGKILL)
                job.kill_at = now + 1
        self._tell("tick", self)

    def _tell(self, event: str, about) -> list:
        return [getattr(listener, event)(about) for listener in self.listeners if hasattr(listener, event)]

    @contextmanager
    def _signals(self):
        """Ctrl-C and SIGTERM are counted, and acted upon at the next look at the clock."""

        def count(*_):
            self.interrupts += 1
            self.draining = True

        before = {}
        for signum in (signal.SIGINT, signal.SIGTERM):
            try:
                before[signum] = signal.signal(signum, count)
            except ValueError:  # not in the main thread
                pass
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
