"""The MLflow run as the experiment sees it: log and forget. A queue carries what is logged to a `Recorder` in another process or thread."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from mlrun.config.passwords import masked
from mlrun.errors import UserError
from mlrun.tracking.delivery import Message, Reply, Unreachable, Waiting, serve
from mlrun.tracking.spool import Spool
from mlrun.tracking.store import tracking_uri

POLL_SECONDS = 1.0
CLOSE_SECONDS = 120.0
OPEN_SECONDS = 20.0  # after which the nested runs start without the id of their parent


class Run:
    """One MLflow run. Its methods return at once; `id` waits until MLflow has assigned one.

    The recorder is a forked process while that is cheap and safe (no heavy import so far), otherwise a thread.

    Args:
        experiment: name of the MLflow experiment.
        parent: run id of the sweep, or the absolute path of the directory of a run that MLflow may not know yet.
        run_id: of an earlier attempt, which is reopened.
        on_open: called once with the run id, from another thread.
        directory: keeps what MLflow has not received yet, so that the run continues when the server does not respond.
        uri: of the store; None: `tracking_uri()`.
    """

    def __init__(
        self,
        experiment: str,
        name: str,
        tags: dict[str, Any],
        params: dict[str, Any],
        parent: str | None = None,
        run_id: str | None = None,
        on_open: Callable[[str], None] | None = None,
        directory: Path | None = None,
        uri: str | None = None,
    ):
        self._on_open, self._started = on_open, time.monotonic()
        self._spool = Spool(directory) if directory else None
        undelivered = self._spool.restart() if self._spool else []
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._opened: Reply | None = None  # the reply to `open`
        self._away = threading.Event()  # MLflow does not answer, and the run is not open yet
        self._child: int | None = None  # process id of the recorder
        heavy = {"torch", "mlflow", "numpy"} & set(sys.modules)
        in_thread = heavy or threading.active_count() > 1 or not hasattr(os, "fork")
        (self._start_thread if in_thread else self._start_process)()
        tags, params = ({key: masked(str(value)) for key, value in pairs.items()} for pairs in (tags, params))
        self.uri = uri or tracking_uri()
        self._send("open", self.uri, experiment, name, tags, params, parent, os.getcwd(), _milliseconds(), run_id)
        for method, arguments in undelivered:
            self._send(method, *arguments)

    @property
    def id(self) -> str | None:
        """MLflow's run id, for which this waits; None if the run was closed before MLflow answered.

        Raises UserError if the run could not be opened.
        """
        return self._id(None)

    @property
    def id_in_time(self) -> str | None:
        """As `id`, but None if MLflow does not answer, or has not assigned one within OPEN_SECONDS of the run's start."""
        while not self._away.is_set() and time.monotonic() < self._started + OPEN_SECONDS:
            if (run_id := self._id(0.05)) is not None:
                return run_id
        return self._id(0.0)

    def _id(self, seconds: float | None) -> str | None:
        if self._opened is None:
            try:
                self._opened = self._replies.get(timeout=seconds)
            except queue.Empty:
                return None
        run_id, error = self._opened
        if error:
            raise UserError(f"MLflow could not open a run at {masked(self.uri)}: {error}")
        return run_id

    def check(self) -> None:
        """Raises UserError if the run is already known to have failed to open; never waits."""
        if self._opened is not None or not self._replies.empty():
            self.id  # noqa: B018

    def params(self, values: dict[str, Any]) -> None:
        self._send("params", {key: masked(str(value)) for key, value in values.items()})

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        self._send("metrics", {key: float(value) for key, value in values.items()}, step, _milliseconds())

    def tags(self, values: dict[str, Any]) -> None:
        self._send("tags", {key: masked(str(value)) for key, value in values.items()})

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        self._send("dataset", name, digest, masked(source), profile)

    def artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Uploads a file or directory. It is read later, and must not change until then."""
        self._send("artifact", str(path), folder)

    def model(
        self,
        directory: Path | str,
        example: Any,
        prediction: Any,
        requirements: list[str],
        flavors: dict[str, dict[str, Any]],
        columns: list[tuple[str, str]] | None = None,
        description: str | None = None,
    ) -> None:
        """Logs the learner saved in `directory` as an MLflow model; see `Recorder.model`."""
        self._send("model", str(directory), example, prediction, requirements, flavors, columns, description)

    def close(self, status: str) -> str | None:
        """Ends the run as FINISHED, FAILED or KILLED after everything sent is written. Returns what MLflow refused, if anything."""
        self._send("close", status)
        try:
            if self._opened is None:
                self._opened = self._reply_in_time()
            if self._opened[1]:
                return self._opened[1]
            refused = self._reply_in_time()[1]
        except queue.Empty:
            silence = f"no answer from {masked(self.uri)} within {CLOSE_SECONDS:.0f} s"
            self._opened = self._opened or (None, silence)  # `id` need not wait again
            # the spool has what the recorder still holds, and another process may send it at any time
            if self._child and self._spool:
                os.kill(self._child, signal.SIGKILL)
            return Unreachable(silence) if self._spool else silence
        finally:
            if self._child and self._opened is not None:
                os.waitpid(self._child, os.WNOHANG)
        if refused is None and self._spool:
            self._spool.clear()
        return refused

    def _reply_in_time(self) -> Reply:
        """The next reply. Raises queue.Empty after CLOSE_SECONDS without any progress."""
        while True:
            size = self._spool.size() if self._spool else 0
            try:
                return self._replies.get(timeout=CLOSE_SECONDS)
            except queue.Empty:
                if self._spool is None or self._spool.size() == size:
                    raise

    def child(self, run_id: str) -> None:
        """A run of this sweep has started: if this process disappears, the recorder ends that run too."""
        self._send("child", run_id)

    def end_child(self, run_id: str, status: str, reason: str) -> None:
        """A run of this sweep has ended. status: for a run that could not close itself."""
        self._send("end_child", run_id, status, reason)

    def end_lost_child(self, directory: Path | str, status: str, reason: str) -> None:
        """As `end_child`, for a run whose id was never reported. directory: where the run wrote."""
        self._send("end_lost_child", str(directory), status, reason)

    def _reply(self, reply: Reply) -> None:
        if isinstance(reply[1], Waiting):
            self._away.set()
            return
        self._away.clear()
        self._replies.put(reply)
        on_open, self._on_open = self._on_open, None
        if on_open and reply[0]:
            on_open(reply[0])

    def _send(self, method: str, *arguments: Any) -> None:
        number = self._spool.append(method, arguments) if self._spool else 0
        self._queue.put((number, method, arguments))

    def _start_thread(self) -> None:
        threading.Thread(
            target=serve, args=(self._queue.get, self._reply, self._spool), daemon=True, name="mlflow"
        ).start()

    def _start_process(self) -> None:
        from multiprocessing import Pipe

        ours, theirs = Pipe()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            ours.close()
            _serve_in_child(theirs, parent, self._spool)
        theirs.close()

        def forward() -> None:
            try:
                while (message := self._queue.get())[1] != "close":
                    ours.send(message)
                ours.send(message)
            except OSError:
                pass  # the receiver reports it
            except Exception:
                ours.close()  # a message that cannot be sent ends the recording, and the receiver reports that
                raise

        def receive() -> None:
            try:
                while True:
                    self._reply(ours.recv())
            except (EOFError, OSError):
                self._replies.put((None, "the recording process ended early"))

        for work in (forward, receive):
            threading.Thread(target=work, daemon=True, name="mlflow").start()


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _serve_in_child(connection: Connection, parent: int, spool: Spool | None) -> NoReturn:
    """The forked recorder. It ignores Ctrl-C, which the experiment handles, ends with its parent, and never returns."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

        def receive() -> Message | None:
            try:
                while os.getppid() == parent and not connection.poll(POLL_SECONDS):
                    pass
                return connection.recv() if connection.poll() else None
            except (EOFError, OSError):  # OSError: the experiment died before it read our last reply
                return None

        def send(reply: Reply) -> None:
            with suppress(OSError):  # the parent is gone
                connection.send(reply)

        serve(receive, send, spool)
        status = 0
    finally:
        os._exit(status)


class NullRun:
    """Records nothing: for the further processes of a distributed run."""

    id = None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **options: None
