"""A job's own process: runs Hydra's job in RUN mode and reports to the sweep. Also where `mlrun` learns that it is part of one."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from mlrun.errors import Pruned
from mlrun.report import terminal
from mlrun.sweep.job import reason_of_error
from mlrun.sweep.server import Request

current: Worker | None = None  # in a job's process

EPOCH_SECONDS = 0.2  # at most so often an epoch is reported, unless each one counts for pruning


class Worker:
    """Takes the place of the terminal's progress: what it would draw is reported. Methods as `mlrun.report.terminal.Progress`."""

    due = False  # nobody looks at single batches

    def __init__(self, request: Request, report):
        self.request, self.report = request, report
        self._next = 0.0
        self._prune = False
        self._unsent = None

    def run(self, cfg, hydra_cfg):
        """The experiment as a job: what it raises, Hydra takes to `run_job`."""
        import logging

        from mlrun.experiment.run import run

        logging.captureWarnings(True)
        directory, overrides = Path(hydra_cfg.runtime.output_dir), list(hydra_cfg.overrides.task)
        request, checkpoint = self.request, left_by_earlier_attempt(directory, cfg)
        return run(
            cfg, directory, overrides, request.parent_run, Reports(self), request.run_id, self.opened, checkpoint
        ).objective

    def opened(self, run_id: str) -> None:
        """MLflow has given the run an id (called from the recorder's thread)."""
        self.report("run", run_id)

    def prune(self, *_) -> None:
        """Signal handler: the search has seen enough of this job."""
        self._prune = True

    def start(self, total_epochs, steps_per_epoch, monitor=None, mode=None, finished_epochs=0, earlier=()) -> None:
        self.report(
            "training",
            {"total_epochs": total_epochs if (total_epochs or 0) > 0 else None, "monitor": monitor, "mode": mode},
        )
        self.monitor, self.done = monitor, finished_epochs

    def step(self, batch_index, loss=None) -> None:
        pass

    def epoch(self, epoch: int, metrics: dict) -> None:
        value = metrics.get(self.monitor)
        self._unsent = (epoch, None if value is None else float(value))
        if self.request.stop_when_told or time.monotonic() >= self._next:
            self._send()
        if self.request.stop_when_told and self._prune:
            raise Pruned(f"pruned after epoch {epoch}")

    def stop(self) -> None:
        if self._unsent:
            self._send()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def finished(self, result) -> None:
        """The result of `mlrun.experiment.run.run`."""
        names = ("model", "dataset", "monitor", "mode", "metrics", "seconds", "parameters", "best_epoch", "predict_ms")
        self.report("result", {name: getattr(result, name) for name in names} | {"run_id": result.run_id})

    def _send(self) -> None:
        self.report("epoch", self._unsent)
        self._unsent = None
        self._next = time.monotonic() + EPOCH_SECONDS


class Reports:
    """What `mlrun.experiment.run.run` tells, in place of `mlrun.report.terminal`."""

    def __init__(self, worker: Worker):
        self._worker = worker

    def config_summary(self, *arguments, **options) -> None:
        terminal.config_summary(*arguments, **options)  # into the job's output.log

    def Progress(self, *_, **__) -> Worker:
        return self._worker

    def result_table(self, result) -> None:
        terminal.result_table(result)
        self._worker.finished(result)


def run_job(request: Request, report, turn, task_function, hydra_context) -> int:
    """Hydra's job, as if `argv` had been typed; the user's function is called when it is the job's turn. Returns the exit status."""
    import signal

    from hydra.types import RunMode
    from omegaconf import open_dict, read_write

    from mlrun.config.hydra_internals import failure_of, register_hydra_resolvers, run_hydra_job

    global current
    current = Worker(request, report)
    signal.signal(signal.SIGUSR1, current.prune)
    config = request.config
    register_hydra_resolvers()
    with read_write(config), open_dict(config):
        config.hydra.mode = RunMode.RUN
        config.hydra.run.dir = request.directory

    def begin(cfg):
        turn()
        return task_function(cfg)

    try:
        done = run_hydra_job(hydra_context, begin, config)
    except BaseException as error:
        report(
            "interrupted" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "failed", reason_of_error(error)
        )
        raise
    if (error := failure_of(done)) is not None:
        report("pruned" if isinstance(error, Pruned) else "failed", reason_of_error(error))
        return 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # the next job takes this one's slot as soon as it is reported
    report("finished", {"value": done.return_value, "working_dir": done.working_dir, "task_name": done.task_name})
    return 0


def left_by_earlier_attempt(directory: Path, cfg) -> Path | None:
    """The newest readable checkpoint of the same configuration. Where there is none the job starts anew, and must not find what is left."""
    import shutil

    from mlrun.config.identity import identity
    from mlrun.config.instantiate import plain
    from mlrun.errors import UserError
    from mlrun.experiment.state import CHECKPOINTS, is_readable
    from mlrun.tracking.run_directory import read_record

    with suppress(UserError):
        if read_record(directory).get("identity") == identity(plain(cfg)):
            for name in CHECKPOINTS:
                checkpoint = directory / "checkpoints" / name
                if is_readable(checkpoint, bool(cfg.get("trust"))):
                    # what the further processes of a distributed job are started with
                    sys.argv[1:] = ["resume", str(checkpoint)]
                    return checkpoint
    for name in ("checkpoints", "figures", "model", "config"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in ("error.txt", "metrics.json"):
        (directory / name).unlink(missing_ok=True)
    return None
