"""Carries a run's messages to its `Recorder`, in their order, and keeps them while MLflow does not answer."""

from __future__ import annotations

import time
from collections import deque

from mlrun.tracking.recorder import Recorder, is_unreachable

RETRY_SECONDS = 5.0  # after a server did not answer; the next time twice as long, up to a minute


class Delivery:
    """Carries messages `(number, method, arguments)` out in their order. Where MLflow does not answer, they wait for a later attempt.

    spool: where they are written down until they have arrived; without one nothing waits, and what fails is refused.
    """

    def __init__(self, spool=None):
        self.recorder, self.spool = Recorder(once=spool is not None), spool
        self.waiting: deque[tuple[int, str, tuple]] = deque()
        self.buffered: list[int] = []  # numbers of messages whose points are not sent yet
        self._pause, self._retry = RETRY_SECONDS, 0.0

    def add(self, number: int, method: str, arguments: tuple) -> Exception | None:
        """Carries out what can be. Returns why the run cannot be opened, where that is final."""
        self.waiting.append((number, method, arguments))
        urgent = method == "close"
        if self.recorder.unreachable and not urgent and time.monotonic() < self._retry:
            return None
        while self.waiting:
            number, method, arguments = self.waiting[0]
            try:
                getattr(self.recorder, method)(*arguments)
            except (
                Exception
            ) as error:  # whatever a server or a disk does, the experiment goes on and hears of it at its end
                if self.spool is not None and self._is_down(error):
                    self.recorder.unreachable = _told(error)
                    self._retry, self._pause = time.monotonic() + self._pause, min(2 * self._pause, 60.0)
                    return None
                if method == "open":
                    if self.recorder.run_id is not None:
                        self.recorder.client.set_terminated(self.recorder.run_id, "FAILED")
                    return error
                self.recorder.failure = self.recorder.failure or f"{method}: {_told(error)}"
                if method == "metrics":  # not again with every later point; written down they still are
                    self.recorder.points.clear()
                    self.buffered.clear()
            else:
                self._arrived(number, method)
            self.waiting.popleft()
            self.recorder.unreachable, self._pause = None, RETRY_SECONDS
        return None

    def _arrived(self, number: int, method: str) -> None:
        if self.spool is None:
            return
        if method == "metrics":
            self.buffered.append(number)
        else:
            self.spool.sent([number])
        if self.buffered and not self.recorder.points:
            self.spool.sent(self.buffered)
            self.buffered.clear()

    def finish(self) -> None:
        """Sends the points that are still held."""
        self.recorder.flush()
        if self.spool is not None:
            self.spool.sent(self.buffered)
        self.buffered.clear()

    def _is_down(self, error: Exception) -> bool:
        """A server that fails at one request but answers another has refused that one."""
        if not is_unreachable(error):
            return False
        if self.recorder.run_id is None:
            return True
        try:
            self.recorder.client.get_run(self.recorder.run_id)
            return False
        except Exception as other:
            return is_unreachable(other)


def serve(receive, reply, spool=None) -> None:
    """Carries messages out until one closes the run. `receive` returns None when the experiment is gone.

    Replies once after `open` and once after `close`: `(value, error message or None)`; after `close` without an `open` that succeeded, both.
    """
    delivery = Delivery(spool)
    recorder, told = delivery.recorder, False
    while (message := receive()) is not None:
        number, method, arguments = message
        refused = delivery.add(number, method, arguments)
        if refused is not None:
            return reply((None, _told(refused)))
        if not told and recorder.run_id is not None and not recorder.unreachable:
            reply((recorder.run_id, None))
            told = True
        if method == "close":
            if not told:
                reply((None, None))
            return reply(
                (recorder.run_id, recorder.unreachable and Unreachable(recorder.unreachable) or recorder.failure)
            )
    if recorder.run_id is not None and not recorder.unreachable:  # killed without a chance to say so
        for child in list(recorder.children):
            recorder.end_child(child, "KILLED", "the sweep's process disappeared")
        recorder.tags({"mlrun.ended": "the process disappeared"})
        recorder.close("KILLED")
        if spool is not None and delivery.buffered:
            spool.sent(delivery.buffered)


class Unreachable(str):
    """Why a run's end could not be told to MLflow; everything that has not arrived is in its spool."""


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
