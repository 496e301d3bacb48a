"""The processes of the jobs on one machine, forked from a warm server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlrun.sweep.executors.executor import Report
from mlrun.sweep.job import LOG, memory_kills, reason_of_death
from mlrun.sweep.server import Request, Server


class Processes:
    """Starts jobs, and reports in the terms of the queue what becomes of them."""

    def __init__(self, server: Server):
        self.server = server
        self.asked, self.answered = 0, 0  # requests to import modules; two threads may count
        self._prepared: set[int] = set()  # numbers of jobs whose processes wait for their turn
        self._perished: set[int] = set()  # jobs whose process died while it waited; they get another one in their turn
        self._logs: dict[int, Path] = {}  # of the jobs that run
        self._memory_kills = memory_kills()

    @property
    def importing(self) -> bool:
        """Whether modules are being imported."""
        return self.answered < self.asked

    def preload(self, modules: Sequence[str]) -> None:
        """Imports modules once for all jobs."""
        self.server.preload(modules)
        self.asked += 1

    def prepare(self, number: int, request: Callable[[], Request]) -> None:
        """Forks the process of a job, which waits for `start`. Does nothing if that was done before."""
        if number not in self._prepared | self._perished:
            self._fork(number, request)

    def start(self, number: int, request: Callable[[], Request], environment: dict[str, str]) -> None:
        """Runs a job.

        Args:
            request: makes what its process needs to know, unless that is prepared.
            environment: variables that select its devices.
        """
        if number not in self._prepared:
            self._fork(number, request)
        self._prepared.remove(number)
        self.server.go(number, environment)

    def _fork(self, number: int, request: Callable[[], Request]) -> None:
        self._prepared.add(number)
        made = request()
        self._logs[number] = Path(made.directory, LOG)
        self.server.prepare(made)

    def signal(self, number: int, signum: int) -> None:
        """Sends a signal to all processes of a job."""
        self.server.signal(number, signum)

    def receive(self, seconds: float) -> list[Report]:
        """The reports since the last call. Waits up to `seconds` for the first one. Raises EOFError if the server is gone."""
        found: list[Report] = []
        report = self.server.receive(seconds)
        while report is not None:
            found += self._understood(*report)
            report = self.server.receive(0)
        return found

    def _understood(self, kind: str, number: int, payload: Any) -> list[Report]:
        if kind == "ready":
            self.answered += 1
            return []
        if kind != "exited":
            return [(kind, number, payload)]
        kills, before = memory_kills(), self._memory_kills
        self._memory_kills = kills
        if number in self._prepared:
            self._prepared.remove(number)
            self._perished.add(number)
            return []
        return [(kind, number, reason_of_death(payload, kills - before, self._logs.pop(number, Path(os.devnull))))]

    def close(self) -> None:
        """Ends all processes; safe to call twice."""
        with suppress(OSError):
            self.server.close()
