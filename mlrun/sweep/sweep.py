"""One sweep, from the overrides of its jobs to their results: compose, check, record, run, summarize."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf, open_dict

from mlrun.config.identity import identity
from mlrun.config.schema import check_settings
from mlrun.errors import ConfigError, UserError
from mlrun.sweep import job as states
from mlrun.sweep import journal as journals
from mlrun.sweep.display import Display, short_overrides, summary
from mlrun.sweep.job import Job
from mlrun.sweep.journal import SWEEP, Journal
from mlrun.sweep.pool import Pool
from mlrun.sweep.record import Record, recall_runs
from mlrun.sweep.server import Request, Server
from mlrun.sweep.slots import demand, share_out, visible_gpus
from mlrun.tracking.run_directory import LOCK_SECONDS, locked
from mlrun.tracking.spool import Spool
from mlrun.warm.modules import COMMON

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class Sweep:
    """A warm server, a journal and a parent run, for one or several batches of jobs. A listener of the pool.

    Args:
        settings: conf/hydra/launcher/pool.yaml.
        task_function: the user's function, which runs a job; None if another launcher runs the jobs.
        config: Hydra's configuration of the sweep.

    Raises:
        ConfigError: a setting of the launcher is invalid.
        UserError: the directory holds another sweep, or another process runs this one.
    """

    pool: Pool  # made by `check`
    threads: int  # per slot
    display: Display  # made when the jobs start

    def __init__(
        self,
        settings: dict[str, Any],
        hydra_context: HydraContext,
        task_function: TaskFunction | None,
        config: DictConfig,
    ):
        from mlrun.sweep.worker import run_job

        check_settings("hydra.launcher", settings)
        self.settings, self.context, self.config = settings, hydra_context, config
        self.directory = Path(str(config.hydra.sweep.dir)).resolve()
        self.jobs: list[Job] = []
        self.gpus = visible_gpus()
        self.is_ours = OmegaConf.is_dict(config.get("model")) and "tracking" in config
        self._lock = ExitStack()  # holds the lock of the directory
        if settings["resume"] and (self.directory / SWEEP).is_file():
            self._lock.enter_context(locked(self.directory, LOCK_SECONDS))  # before its state is read
        self.journal = Journal(self.directory)
        self.resumes = bool(settings["resume"])
        if self.journal.exists and not self.resumes and not self.is_ours:
            self.journal.forget()  # other applications of Hydra expect that
        elif self.journal.exists and not self.resumes:
            raise UserError(
                f"{self.directory} already holds a sweep. To resume it: mlrun resume {shlex.quote(str(self.directory))}; "
                f"for a new sweep choose another hydra.sweep.dir"
            )
        self.server: Server | None = None
        self.record: Record | None = None
        self.parent: str | None = None  # of the jobs' runs: see `Record.parent`
        self.unrecorded = ""  # what MLflow has not received completely, once the sweep has ended
        self.closing = ""  # last line of the report
        self.start = time.monotonic()
        self._importing = 0  # requests to the server that it has not answered
        if task_function is not None:
            self.server = Server(partial(run_job, task_function=task_function, hydra_context=hydra_context))
            if early := [*(COMMON if self.is_ours else ()), *settings["preload"]]:
                self._import(early)  # while the jobs are composed

    # --- before the start ------------------------------------------------------------------------------------------

    def compose(self, overrides: list[str], number: int) -> Job:
        """The next job of the sweep. Raises ConfigError or Hydra's errors if the overrides do not give a valid configuration."""
        job = self.sample(overrides)
        composed = job.config
        taken = {other.number for other in self.jobs}
        entry = self.journal.recall(job.identity, taken)
        number = entry["number"] if entry else self.journal.free_number(number, taken)
        with open_dict(composed):
            composed.hydra.job.id = str(number)
            composed.hydra.job.num = number
        subdir = str(OmegaConf.select(composed, "hydra.sweep.subdir"))
        job.number, job.directory = number, self.directory / subdir
        if entry:
            journals.restore(job, entry)
        self.jobs.append(job)
        return job

    def sample(self, overrides: list[str]) -> Job:
        """A job with these overrides that is not part of the sweep. Raises as `compose`."""
        composed = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        cfg, hashed = self._read(composed)
        return Job(-1, list(overrides), composed, hashed, self.directory, demand(cfg, len(self.gpus)))

    def compose_all(self, batch: list[list[str]], first: int) -> list[Job]:
        """The jobs of a batch.

        Args:
            batch: overrides of each job.
            first: number of the first job.

        Raises:
            ConfigError: with the problems of all jobs. Hydra's errors pass through if a job cannot be composed.
        """
        problems: dict[str, list[str]] = {}
        jobs = []
        for number, overrides in enumerate(batch, first):
            try:
                jobs.append(self.compose(overrides, number))
            except ConfigError as error:
                for line in error.problems:
                    problems.setdefault(line, []).append(" ".join(overrides))
        if problems:
            lines = []
            for line, where in problems.items():
                others = f" and {len(where) - 1} more" if len(where) > 1 else ""
                lines.append(line if len(where) == len(batch) else f"{line}  (job {where[0]}{others})")
            raise ConfigError(lines)
        return jobs

    def _read(self, composed: DictConfig) -> tuple[dict[str, Any], str]:
        """The plain configuration of a job, and its identity. Raises ConfigError for a configuration that cannot work."""
        if not self.is_ours:
            container: Any = OmegaConf.to_container(composed, resolve=False)
            container.pop("hydra", None)
            text = json.dumps(container, sort_keys=True, default=str)
            return container, hashlib.sha256(text.encode()).hexdigest()[:16]
        from mlrun.config.compose import without_hydra
        from mlrun.config.instantiate import plain
        from mlrun.config.validate import validate

        cfg = without_hydra(composed)
        errors, _ = validate(cfg, list(composed.hydra.overrides.task))
        if errors:
            raise ConfigError(errors)
        cfg = plain(cfg)
        return cfg, identity(cfg)

    def check(self, like: list[Job] | None = None) -> None:
        """Makes a `Pool` with slots for the jobs, or for samples of them (`like`). Raises ConfigError if a job needs more than there is."""
        if self.server is None:
            raise RuntimeError("another launcher runs the jobs of this sweep")
        settings = self.settings
        slots, self.threads = share_out(
            [job.demand for job in like or self.jobs],
            self.gpus,
            settings["slots"],
            settings["threads"],
            settings["jobs_per_gpu"],
        )
        self.pool = Pool(
            self.server, slots, self._request, self._environment, settings["timeout"], settings["fail_fast"]
        )

    # --- running ---------------------------------------------------------------------------------------------------

    def run(
        self,
        jobs: Iterable[Job],
        total: int,
        grid: dict[str, list[str]],
        listeners: Sequence[Any] = (),
        like: list[Job] | None = None,
        artifacts: Callable[[], list[Path]] | None = None,
    ) -> None:
        """Runs jobs as slots become free. A failed job does not raise.

        Args:
            total: number of jobs.
            grid: what is varied: key -> values.
            listeners: of the pool.
            like: samples of the jobs of a search, which are not known in advance.
            artifacts: called at the end; returns files for the parent run.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
        """
        self.check(like)
        self.begin_record(grid)
        status = "KILLED"
        self.display = Display(self.jobs, total, _common([job.overrides for job in like or self.jobs]))
        try:
            with self.display:
                places = ", ".join(
                    f"{sum(slot.kind == kind for slot in self.pool.slots.all)} {kind} slots" for kind in self._kinds()
                )
                self.display.show(f"sweep of {total or '?'} jobs on {places}: {_relative(self.directory)}")
                self._warm_up(like or self.jobs)
                self.pool.listeners = [*listeners, self, self.display, *([self.record] if self.record else [])]
                # a prepared job would call the callbacks' `on_job_start` long before its turn
                callbacks = OmegaConf.select(self.config, "hydra.callbacks")
                self.pool.run(self._pending(jobs), ahead=like is None and not callbacks)
            failed = any(job.state in (states.FAILED, states.KILLED) for job in self.jobs)
            status = "FAILED" if failed or self.pool.draining else "FINISHED"
        except EOFError:
            status = "FAILED"
            self.pool.lose("the server of the sweep was killed from outside")
        finally:
            self.end(status, artifacts)

    def _kinds(self) -> list[str]:
        return sorted({slot.kind for slot in self.pool.slots.all})

    def _pending(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            if job.state in (states.FINISHED, states.PRUNED):
                continue
            yield job

    def begin_record(self, grid: dict[str, list[str]]) -> None:
        """Opens the journal and the parent run.

        Call it before anything heavy is imported: the recorder is then a process, which outlives this one.
        """
        if not self.resumes and not self.journal.exists:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(locked(self.directory, seconds=0))
        argv = sys.argv[1:]
        experiment = OmegaConf.select(self.config, "tracking.experiment")
        command = {"argv": argv, "cwd": os.getcwd(), "grid": grid, "experiment": experiment}
        self.journal.update(**{key: value for key, value in command.items() if key not in self.journal.sweep})
        if self.is_ours and self.journal.sweep.get("run_id"):
            recall_runs(self.jobs, experiment, self.journal.sweep["run_id"])
        if self.is_ours and self.record is None:
            self.record = Record(self.config.tracking.experiment, argv, grid, self.journal, self.jobs, self.directory)

    def open_parent(self) -> None:
        """Waits for MLflow's answer about the parent run, which may not come. Raises UserError if MLflow refuses it."""
        if self.record is not None:
            self.parent = self.record.parent
            if self.record.run_id:
                self.journal.update(run_id=self.record.run_id)

    def _warm_up(self, like: list[Job]) -> None:
        modules = modules_of([job.config for job in like if job.state == states.WAITING]) if self.is_ours else []
        self.display.hint("importing what the jobs need")
        self._import(modules)
        self.open_parent()
        while self._importing and self.server is not None:
            report = self.server.receive(1.0)
            self._importing -= bool(report and report[0] == "ready")
        self.display.hint("")

    def _import(self, modules: Sequence[str]) -> None:
        if self.server is not None:
            self.server.preload(modules)
            self._importing += 1

    def _environment(self, job: Job) -> dict[str, str]:
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(slot.device for slot in job.slots if slot.device)}
        if not self.gpus and "CUDA_VISIBLE_DEVICES" not in os.environ:
            environment = {}
        return {**environment, "MLRUN_SLOTS": ",".join(map(str, job.slots))}

    def _request(self, job: Job) -> Request:
        return Request(
            number=job.number,
            config=job.config,
            directory=str(job.directory),
            argv=[sys.argv[0], *_job_arguments(job.config, sys.argv[1:])],
            threads=self.threads * (job.demand.count if job.demand.kind == "gpu" else 1),
            parent_run=self.parent,
            run_id=job.run_id,
            name=short_overrides(self.display.varied(job)) or None,
            prunable=bool(self.settings.get("prunes")),
        )

    def started(self, job: Job) -> None:
        self.journal.write(job)

    def opened(self, job: Job) -> None:
        self.journal.write(job)

    def ended(self, job: Job) -> None:
        self.journal.write(job)

    def end(self, status: str, artifacts: Callable[[], list[Path]] | None = None) -> None:
        """Closes the parent run as FINISHED, FAILED or KILLED, and prints the summary."""
        resume = shlex.join(["mlrun", "resume", _relative(self.directory)])
        if self.record:
            self.record.close(status, artifacts() if artifacts else [])
            self.unrecorded = self._unrecorded(self.record)
        summary(
            self.jobs,
            self.display,
            self.directory,
            resume,
            time.monotonic() - self.start,
            self.record.run_id if self.record else None,
        )
        if self.unrecorded:
            self.display.print(
                f"{self.unrecorded}. To send the rest: {shlex.join(['mlrun', 'sync', _relative(self.directory)])}"
            )
        if self.closing:
            print(self.closing)
        self.record = None

    def _unrecorded(self, record: Record) -> str:
        """What MLflow has not received completely, in words; empty if nothing is missing."""
        jobs = [job.number for job in self.jobs if job.state in states.ENDED and Spool(job.directory).exists]
        missing = [f"job{'s' * (len(jobs) > 1)} {', '.join(map(str, jobs))}"] if jobs else []
        missing += [f"the sweep's own run ({record.refused})"] if record.refused else []
        return f"MLflow has not received all data of {' and '.join(missing)}" if missing else ""

    def close(self) -> None:
        """Ends the server; safe to call twice."""
        if self.server is not None:
            with suppress(OSError):
                self.server.close()
        self._lock.close()


def modules_of(configs: Iterable[DictConfig]) -> list[str]:
    """The modules that jobs import: those of their targets, of the training loop and of the estimators."""
    found: dict[str, None] = {}

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            target = node.get("_target_")
            if isinstance(target, str) and "." in target:
                found[target.rpartition(".")[0]] = None
            for child in node.values():
                visit(child)
        elif isinstance(node, list):
            for child in node:
                visit(child)

    for config in configs:
        cfg: Any = OmegaConf.to_container(config, resolve=False)
        model = cfg.get("model") or {}
        network = model.get("_target_") is not None
        found["mlrun.training.learner" if network else "mlrun.estimators.learner"] = None
        found["mlrun.data.batches" if network else "mlrun.estimators.roles"] = None
        for group in ("model", "dataset", *(("optim", "scheduler") if network else ())):
            visit(cfg.get(group))
        if not network:
            found.update(dict.fromkeys(("sklearn.pipeline", "pandas")))
    return list(found)


def grid_of(overrides: Iterable[list[str]]) -> dict[str, list[str]]:
    """What is varied: key -> its values in order. overrides: of each job."""
    values: dict[str, dict[str, None]] = {}
    for job in overrides:
        for override in job:
            key, _, value = override.partition("=")
            values.setdefault(key, {})[value] = None
    return {key: list(seen) for key, seen in values.items() if len(seen) > 1}


def _common(overrides: list[list[str]]) -> list[str]:
    """Overrides that all jobs have."""
    if len(overrides) < 2:
        return []
    return [override for override in overrides[0] if all(override in other for other in overrides)]


def _job_arguments(config: DictConfig, typed: Sequence[str]) -> list[str]:
    """The command line that would run this job alone: the options typed by the user, without those of the sweep, and the job's overrides."""
    options: list[str] = []
    arguments = iter(typed)
    for argument in arguments:
        if argument in ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"):
            options += [argument, next(arguments, "")]
        elif argument.startswith(("--config-dir=", "--config-name=", "--config-path=")):
            options.append(argument)
    hydra = [override for override in config.hydra.overrides.hydra if not _of_the_sweep(override)]
    return [*options, *hydra, *config.hydra.overrides.task]


def _of_the_sweep(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key.startswith(
        ("hydra/launcher", "hydra/sweeper", "hydra.launcher", "hydra.sweeper", "hydra.sweep", "hydra.mode", "hydra.run")
    )


def _relative(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
