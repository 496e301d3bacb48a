"""The process of one job: runs Hydra's job in RUN mode and reports to the sweep. `current` is set in such a process only."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config.identity import identity
from mlrun.config.instantiate import plain
from mlrun.errors import Pruned
from mlrun.report import silent, terminal
from mlrun.sweep.job import reason_of_error
from mlrun.sweep.server import Report, Request
from mlrun.tracking.run_directory import LOCK_SECONDS, locked, write_atomically

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from mlrun.experiment.run import Result

current: Worker | None = None

EPOCH_SECONDS = 0.2  # shortest time between two reports of epochs, unless the sweep prunes and needs every epoch
COMPLETED = "result.json"  # in a job's directory, once its run is complete
# fields of a result that are reported
RESULT = ("model", "dataset", "monitor", "mode", "metrics", "seconds", "parameters", "best_epoch", "predict_ms")


class Worker:
    """Reports to the sweep what would be drawn on the terminal. Its methods are those of `mlrun.report.terminal.Progress`."""

    due = False  # single batches are not reported

    def __init__(self, request: Request, report: Report):
        self.request, self.report = request, report
        self.monitor: str | None = None
        self._identity = ""  # hash of the job's configuration
        self._next = 0.0  # time of the next report of an epoch
        self._prune = False
        self._unsent: tuple[int, float | None] | None = None  # epoch, value of the watched metric

    def run(self, cfg: DictConfig, hydra_cfg: HydraConf) -> float | None:
        """Runs the experiment. Returns the value of the watched metric; Hydra passes on what it raises to `run_job`."""
        import logging

        from mlrun.experiment.run import run

        logging.captureWarnings(True)
        directory, overrides = Path(hydra_cfg.runtime.output_dir), list(hydra_cfg.overrides.task)
        self._identity = identity(plain(cfg))
        request = self.request
        if request.rank:
            checkpoint = checkpoint_to_follow(directory, cfg, overrides, request)
            return run(cfg, directory, overrides, report=silent, resume=checkpoint).objective
        # the sweep holds its own lock: a process that still works here is one of an earlier attempt, and is being killed
        with locked(directory, LOCK_SECONDS, is_ending=True):
            if completed := self._completed(directory):
                self.report("result", completed["result"])
                return completed["objective"]
            checkpoint = checkpoint_to_resume(directory, cfg, request.run_id, request.shares_files)
            return run(
                cfg,
                directory,
                overrides,
                request.parent_run,
                Reports(self),
                request.run_id,
                self.opened,
                checkpoint,
                is_locked=True,
                name=request.name,
            ).objective

    def _completed(self, directory: Path) -> dict[str, Any] | None:
        """What an earlier attempt has left that was complete when its machine or the sweep was lost; None if there is none."""
        try:
            kept = json.loads((directory / COMPLETED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept if isinstance(kept, dict) and kept.get("identity") == self._identity else None

    def opened(self, run_id: str) -> None:
        """MLflow has assigned an id to the run. Called from the recorder's thread."""
        self.report("run", run_id)

    def prune(self, *_: Any) -> None:
        """Signal handler: the search ends this job after the current epoch."""
        self._prune = True

    def start(
        self,
        total_epochs: int | None,
        steps_per_epoch: float | None,
        monitor: str | None = None,
        mode: str | None = None,
        finished_epochs: int = 0,
        history: Mapping[str, Any] | None = None,
    ) -> None:
        limit = total_epochs if (total_epochs or 0) > 0 else None  # -1: without end
        self.report("training", {"total_epochs": limit, "monitor": monitor, "mode": mode})
        self.monitor = monitor

    def step(self, batch_index: int, loss: float | None = None) -> None:
        pass

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Reports an epoch. Raises Pruned if the search has ended the job."""
        value = metrics.get(self.monitor) if self.monitor else None
        self._unsent = (epoch, None if value is None else float(value))
        if self.request.prunable or time.monotonic() >= self._next:
            self._send()
        if self.request.prunable and self._prune:
            raise Pruned(f"pruned after epoch {epoch}")

    def stop(self) -> None:
        if self._unsent:
            self._send()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def finished(self, result: Result) -> None:
        """Keeps the result beside the run, before the sweep knows it: no job runs to completion twice."""
        reported = {name: getattr(result, name) for name in RESULT} | {"run_id": result.run_id}
        kept = {"identity": self._identity, "objective": result.objective, "result": reported}
        write_atomically(result.directory / COMPLETED, json.dumps(kept, default=str))
        self.report("result", reported)

    def _send(self) -> None:
        self.report("epoch", self._unsent)
        self._unsent = None
        self._next = time.monotonic() + EPOCH_SECONDS


class Reports:
    """Takes the place of the module `mlrun.report.terminal`: tables go to the job's output.log, progress and result to the sweep."""

    def __init__(self, worker: Worker):
        self._worker = worker

    def config_summary(self, *arguments: Any, **options: Any) -> None:
        terminal.config_summary(*arguments, **options)

    def doing(self, text: str) -> None:
        """The sweep shows that the job runs."""

    def fold(self, *arguments: Any, **options: Any) -> None:
        terminal.fold(*arguments, **options)

    def Progress(self, *_: Any, **__: Any) -> Worker:
        return self._worker

    def result_table(self, result: Result) -> None:
        terminal.result_table(result)
        self._worker.finished(result)


def run_job(
    request: Request,
    report: Report,
    wait_for_turn: Callable[[], None],
    task_function: TaskFunction,
    hydra_context: HydraContext,
) -> int:
    """Runs Hydra's job as if its command line had been typed.

    Args:
        wait_for_turn: is called before the user's function, and returns when the job may begin.
        task_function: the user's function.

    Returns:
        The exit status.
    """
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
        if request.rank:
            config.hydra.output_subdir = None

    def begin(cfg: DictConfig) -> Any:
        wait_for_turn()
        return task_function(cfg)

    try:
        done = run_hydra_job(hydra_context, begin, config)
    except BaseException as error:
        report(
            "interrupted" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "failed", reason_of_error(error)
        )
        raise
    if (failure := failure_of(done)) is not None:
        report("pruned" if isinstance(failure, Pruned) else "failed", reason_of_error(failure))
        return 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # the next job takes the slot as soon as the end of this one is reported
    report("finished", {"value": done.return_value, "working_dir": done.working_dir, "task_name": done.task_name})
    return 0


def checkpoint_to_resume(
    directory: Path, cfg: DictConfig, run_id: str | None, shares_files: bool = True
) -> Path | None:
    """The newest readable checkpoint that an earlier attempt with the same configuration has left, here or in MLflow.

    If there is none, the job starts over, and what an earlier attempt has left in the directory is removed.

    Args:
        directory: of the job.
        cfg: its configuration.
        run_id: MLflow run of the earlier attempt, if there was one.
        shares_files: whether all machines of the job see the directory; otherwise only MLflow gives all of them the same checkpoint.
    """
    import shutil

    checkpoint = _left_checkpoint(directory, cfg) if shares_files else None
    checkpoint = checkpoint or _uploaded_checkpoint(directory, cfg, run_id)
    if checkpoint is not None:
        _resume_further_processes(checkpoint, cfg)
        return checkpoint
    for name in ("checkpoints", "figures", "model", "config"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in ("error.txt", "metrics.json"):
        (directory / name).unlink(missing_ok=True)
    return None


def checkpoint_to_follow(directory: Path, cfg: DictConfig, overrides: Sequence[str], request: Request) -> Path | None:
    """The checkpoint from which the job's first process resumes, for a process on another machine.

    Args:
        directory: of this machine's processes, below the job's.
        cfg, overrides: of the job.
        request: what the process knows about the job.
    """
    from mlrun.experiment.run import write_config

    checkpoint = _left_checkpoint(directory.parent, cfg) if request.shares_files else None
    if checkpoint is None and (checkpoint := _uploaded_checkpoint(directory, cfg, request.run_id)):
        write_config(plain(cfg), overrides, directory)  # which the further processes on this machine read
    if checkpoint is not None:
        _resume_further_processes(checkpoint, cfg)
    return checkpoint


def _left_checkpoint(directory: Path, cfg: DictConfig) -> Path | None:
    from mlrun.errors import UserError
    from mlrun.experiment.state import readable_checkpoint
    from mlrun.tracking.run_directory import read_record

    with suppress(UserError):
        if read_record(directory).get("identity") == identity(plain(cfg)):
            return readable_checkpoint(directory, bool(cfg.get("trust")))
    return None


def _uploaded_checkpoint(directory: Path, cfg: DictConfig, run_id: str | None) -> Path | None:
    import shutil

    from mlrun.experiment.state import readable_checkpoint
    from mlrun.tracking.artifacts import fetch_checkpoints

    if run_id is None or not cfg.trainer.get("upload_checkpoints"):
        return None
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)  # damaged, or of another configuration
    fetch_checkpoints(run_id, directory / "checkpoints")
    return readable_checkpoint(directory, bool(cfg.get("trust")))


def _resume_further_processes(checkpoint: Path, cfg: DictConfig) -> None:
    """Lightning starts the further processes of a machine with this command line."""
    sys.argv[1:] = ["resume", str(checkpoint), *["trust=true"] * bool(cfg.get("trust"))]
