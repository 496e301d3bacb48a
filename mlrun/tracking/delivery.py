"""Delivers a run's messages to its `Recorder` in order, and keeps them while MLflow does not answer."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mlrun.config.passwords import masked
from mlrun.tracking.recorder import Recorder, is_conflict, is_unreachable
from mlrun.tracking.spool import Spool

RETRY_SECONDS = 5.0  # after a server did not answer; the pause doubles with every failure, up to a minute
REPEATS = (0.1, 0.4, 1.6)  # seconds before a call is repeated that failed only because of its moment

Message = tuple[int, str, tuple[Any, ...]]  # number, method of the recorder, its arguments


class Delivery:
    """Carries out messages in order. While MLflow does not answer, they wait for a later attempt.

    Args:
        spool: keeps messages on disk until they have arrived. Without one nothing waits: what cannot be delivered at once is refused.
    """

    def __init__(self, spool: Spool | None = None):
        self.recorder, self.spool = Recorder(once=spool is not None), spool
        self.waiting: deque[Message] = deque()
        self.buffered: list[int] = []  # numbers of messages whose points are not sent yet
        self._pause, self._retry = RETRY_SECONDS, 0.0

    def add(self, number: int, method: str, arguments: tuple[Any, ...]) -> Exception | None:
        """Delivers this message and those that wait, as far as possible. Returns why the run cannot be opened, if that is final."""
        self.waiting.append((number, method, arguments))
        urgent = method == "close"
        if self.recorder.unreachable and not urgent and time.monotonic() < self._retry:
            return None
        while self.waiting:
            number, method, arguments = self.waiting[0]
            try:
                self._call(method, arguments)
            except Exception as error:  # whatever fails, the experiment continues and is notified at its end
                if self.spool is not None and is_unreachable(error) and not self._answers():
                    self.recorder.unreachable = _as_line(error)
                    self._retry, self._pause = time.monotonic() + self._pause, min(2 * self._pause, 60.0)
                    return None
                if method == "open":
                    if self.recorder.run_id is not None:
                        self.recorder.client.set_terminated(self.recorder.run_id, "FAILED")
                    return error
                self.recorder.failure = self.recorder.failure or f"{method}: {_as_line(error)}"
                if method == "metrics":  # do not fail again with every later point; the spool still has these
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
        """Sends the points that the recorder still holds."""
        self.recorder.flush()
        if self.spool is not None:
            self.spool.sent(self.buffered)
        self.buffered.clear()

    def abandon(self) -> None:
        """Ends the run and its children as KILLED: the experiment's process disappeared. A call that MLflow refuses does not prevent the next."""
        recorder = self.recorder
        if recorder.run_id is None or recorder.unreachable:
            return
        for child in list(recorder.children):
            _insist(recorder.end_child, child, "KILLED", "the sweep's process disappeared")
        _insist(self.finish)
        _insist(recorder.tags, {"mlrun.ended": "the process disappeared"})
        recorder.points.clear()  # the spool has those that MLflow refused
        _insist(recorder.close, "KILLED")

    def _call(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Carries out a message. Repeats it after a conflict with another process, and after a failure of a server that answers again.

        A server that restarts fails at a call and answers the next one. One that has refused a message is not waited for any more.
        """
        for pause in REPEATS:
            try:
                return getattr(self.recorder, method)(*arguments)
            except Exception as error:
                restarted = self.recorder.failure is None and is_unreachable(error) and self._answers()
                if not restarted and not is_conflict(error):
                    raise
                time.sleep(pause * random.uniform(0.5, 1.5))
        getattr(self.recorder, method)(*arguments)

    def _answers(self) -> bool:
        """Whether MLflow answers a simple request about the run."""
        if self.recorder.run_id is None:
            return False
        try:
            self.recorder.client.get_run(self.recorder.run_id)
            return True
        except Exception as error:
            return not is_unreachable(error)


class Unreachable(str):
    """Why the end of a run could not be reported to MLflow. Everything that has not arrived is in the run's spool."""


class Waiting(str):
    """Why the run could not be opened yet."""


Reply = tuple[str | None, str | None]  # run id, error message


def serve(receive: Callable[[], Message | None], reply: Callable[[Reply], None], spool: Spool | None = None) -> None:
    """Delivers messages until one closes the run.

    Args:
        receive: waits for the next message; returns None when the experiment's process is gone.
        reply: is called once after `open` and once after `close`, with (run id, error message or None). If `open` never succeeded,
            both replies follow `close`. Before these, the error is `Waiting` as soon as MLflow is known not to answer.
        spool: see `Delivery`.
    """
    delivery = Delivery(spool)
    recorder, replied, announced = delivery.recorder, False, False
    while (message := receive()) is not None:
        number, method, arguments = message
        refused = delivery.add(number, method, arguments)
        if refused is not None:
            return reply((None, _as_line(refused)))
        if not replied and recorder.run_id is not None and not recorder.unreachable:
            reply((recorder.run_id, None))
            replied = True
        if recorder.unreachable and not replied and not announced and method != "close":
            reply((None, Waiting(recorder.unreachable)))
            announced = True
        if method == "close":
            if not replied:
                reply((None, None))
            error = Unreachable(recorder.unreachable) if recorder.unreachable else recorder.failure
            return reply((recorder.run_id, error))
    delivery.abandon()


def _insist(call: Callable[..., None], *arguments: Any) -> None:
    """Calls up to three times: a database that is busy while many jobs end accepts a later attempt. Nobody is left to learn of a failure."""
    for pause in (0.0, 0.5, 2.0):
        time.sleep(pause)
        with suppress(Exception):
            return call(*arguments)


def _as_line(error: Exception) -> str:
    return masked(f"{type(error).__name__}: {' '.join(str(error).split())}")
