"""The run as the experiment sees it: log and forget. What is logged goes through a queue to a `Recorder` beside the experiment."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from mlrun.errors import UserError
from mlrun.tracking.delivery import Unreachable, serve
from mlrun.tracking.spool import Spool
from mlrun.tracking.store import tracking_uri

POLL_SECONDS = 1.0
CLOSE_SECONDS = 120.0
OPEN_SECONDS = 20.0  # after which a run's parts go on without its id


class Run:
    """One MLflow run. Its methods return at once; `id` waits until MLflow has given one.

    The recorder is a forked process while that is cheap and safe (nothing heavy imported yet), else a thread.
    """

    def __init__(
        self, experiment: str, name: str, tags: dict, params: dict, parent: str | None = None, run_id: str | None = None, on_open=None,
        directory: Path | None = None,
    ):  # fmt: skip
        """parent: run id of the sweep, or the absolute path of the directory of a run that MLflow may not know yet; run_id: of an earlier
        attempt, to go on with; on_open(run id) is called once, from another thread.
        directory: where is written down what MLflow has not got yet; with it a server that does not answer is no reason to stop."""
        self._on_open, self._begun = on_open, time.monotonic()
        self._spool = Spool(directory) if directory else None
        earlier = self._spool.begin_again() if self._spool else []
        self._queue = queue.SimpleQueue()
        self._replies = queue.SimpleQueue()
        self._opened = None
        self._child = None
        heavy = {"torch", "mlflow", "numpy"} & set(sys.modules)
        in_thread = heavy or threading.active_count() > 1 or not hasattr(os, "fork")
        (self._start_thread if in_thread else self._start_process)()
        tags, params = ({key: str(value) for key, value in pairs.items()} for pairs in (tags, params))
        self._send("open", tracking_uri(), experiment, name, tags, params, parent, os.getcwd(), _milliseconds(), run_id)
        for method, arguments in earlier:
            self._send(method, *arguments)

    @property
    def id(self) -> str:
        """MLflow's run id. Raises UserError if the run could not be opened."""
        return self._id(None)

    @property
    def id_in_time(self) -> str | None:
        """As `id`; None where MLflow has not given one within OPEN_SECONDS of the run's beginning."""
        return self._id(max(0.0, self._begun + OPEN_SECONDS - time.monotonic()))

    def _id(self, seconds: float | None) -> str | None:
        if self._opened is None:
            try:
                self._opened = self._replies.get(timeout=seconds)
            except queue.Empty:
                return None
        run_id, error = self._opened
        if error:
            raise UserError(f"MLflow could not open a run at {tracking_uri()}: {error}")
        return run_id

    def check(self) -> None:
        """Raises UserError if it is already known that the run could not be opened; never waits."""
        if self._opened is not None or not self._replies.empty():
            self.id  # noqa: B018

    def params(self, values: dict) -> None:
        self._send("params", values)

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        self._send("metrics", {key: float(value) for key, value in values.items()}, step, _milliseconds())

    def tags(self, values: dict) -> None:
        self._send("tags", values)

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        self._send("dataset", name, digest, source, profile)

    def artifact(self, path: Path | str, folder: str | None = None) -> None:
        """A file or directory; read when its turn comes, so it must stay as it is."""
        self._send("artifact", str(path), folder)

    def model(
        self,
        directory: Path | str,
        example,
        prediction,
        requirements: list[str],
        flavors: dict[str, dict],
        columns=None,
    ) -> None:
        """The saved learner as an MLflow model; see `Learner.flavors` and `DataModule.columns`."""
        self._send("model", str(directory), example, prediction, requirements, flavors, columns)

    def close(self, status: str) -> str | None:
        """Ends the run as FINISHED, FAILED or KILLED once everything sent is written. Returns what MLflow refused, if anything."""
        self._send("close", status)
        try:
            if self._opened is None:
                self._opened = self._reply_in_time()
            if self._opened[1]:
                return self._opened[1]
            refused = self._reply_in_time()[1]
        except queue.Empty:
            silence = f"no answer from {tracking_uri()} within {CLOSE_SECONDS:.0f} s"
            self._opened = self._opened or (None, silence)  # `id` need not wait again
            # what it still holds is written down, and may be sent by another process at any time
            if self._child and self._spool:
                os.kill(self._child, signal.SIGKILL)
            return Unreachable(silence) if self._spool else silence
        finally:
            if self._child and self._opened is not None:
                os.waitpid(self._child, os.WNOHANG)
        if refused is None and self._spool:
            self._spool.clear()
        return refused

    def _reply_in_time(self) -> tuple:
        """The next reply. Raises queue.Empty once nothing has moved for CLOSE_SECONDS."""
        while True:
            size = self._spool.size() if self._spool else 0
            try:
                return self._replies.get(timeout=CLOSE_SECONDS)
            except queue.Empty:
                if self._spool is None or self._spool.size() == size:
                    raise

    def child(self, run_id: str) -> None:
        """A run of this sweep has begun: if this process disappears, the recorder ends that run too."""
        self._send("child", run_id)

    def end_child(self, run_id: str, status: str, reason: str) -> None:
        """A run of this sweep is over; `status` is for one that could not close itself."""
        self._send("end_child", run_id, status, reason)

    def end_lost_child(self, directory: Path | str, status: str, reason: str) -> None:
        """As `end_child`, of a run whose id was never told; `directory` is where it wrote."""
        self._send("end_lost_child", str(directory), status, reason)

    def _reply(self, answer) -> None:
        self._replies.put(answer)
        on_open, self._on_open = self._on_open, None
        if on_open and answer[0]:
            on_open(answer[0])

    def _send(self, method: str, *arguments) -> None:
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

        def forward():
            try:
                while (message := self._queue.get())[1] != "close":
                    ours.send(message)
                ours.send(message)
            except OSError:
                pass  # the receiver reports it
            except Exception:
                ours.close()  # what cannot be sent ends the recording, and the receiver reports that
                raise

        def receive():
            try:
                while True:
                    self._reply(ours.recv())
            except (EOFError, OSError):
                self._replies.put((None, "the recording process ended early"))

        for work in (forward, receive):
            threading.Thread(target=work, daemon=True, name="mlflow").start()


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _serve_in_child(connection, parent: int, spool) -> None:
    """The forked recorder: deaf to Ctrl-C (the experiment decides), ends with its parent, never returns."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

        def receive():
            try:
                while os.getppid() == parent and not connection.poll(POLL_SECONDS):
                    pass
                return connection.recv() if connection.poll() else None
            except EOFError:
                return None

        def reply(answer):
            with suppress(OSError):  # nobody is left to hear it
                connection.send(answer)

        serve(receive, reply, spool)
        status = 0
    finally:
        os._exit(status)


class NullRun:
    """Records nothing: for the further processes of a distributed run."""

    id = None

    def __getattr__(self, name):
        return lambda *arguments, **options: None
