"""One sweep, from the overrides of its jobs to their results: compose, check, record, run, summarize."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf, open_dict

from mlrun.config.identity import identity
from mlrun.config.schema import check_settings
from mlrun.errors import ConfigError, UserError
from mlrun.sweep import job as states
from mlrun.sweep import journal as journals
from mlrun.sweep.composer import Composer
from mlrun.sweep.display import Display, short_overrides, summary
from mlrun.sweep.job import Configs, Job
from mlrun.sweep.journal import SWEEP, Journal
from mlrun.sweep.queue import Queue
from mlrun.sweep.record import Record, recall_runs
from mlrun.sweep.server import Request, Work
from mlrun.sweep.slots import demand, visible_gpus
from mlrun.sweep.tally import Tally
from mlrun.tracking.run_directory import LOCK_SECONDS, locked
from mlrun.tracking.spool import Spool
from mlrun.tracking.store import refuse_sqlite
from mlrun.warm.modules import COMMON

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from mlrun.sweep.executors.executor import Executor


class Sweep:
    """An executor, a journal and a parent run, for one or several batches of jobs. A listener of the queue.

    Args:
        settings: of the launcher, such as conf/hydra/launcher/pool.yaml.
        task_function: the user's function, which runs a job; None if another launcher runs the jobs.
        config: Hydra's configuration of the sweep.
        executor: makes what runs the jobs; called with what the process of each job executes.

    Raises:
        ConfigError: a setting of the launcher is invalid.
        UserError: the directory holds another sweep, or another process runs this one.
    """

    queue: Queue  # made by `run`
    display: Display  # made when the jobs start

    def __init__(
        self,
        settings: dict[str, Any],
        hydra_context: HydraContext,
        task_function: TaskFunction | None,
        config: DictConfig,
        executor: Callable[[Work], Executor] | None = None,
    ):
        from mlrun.sweep.worker import run_job

        check_settings("hydra.launcher", settings)
        self.settings, self.context, self.config = settings, hydra_context, config
        self.directory = Path(str(config.hydra.sweep.dir)).resolve()
        self.tally = Tally()
        self.jobs = self.tally.jobs
        self.modules: dict[str, None] = {}  # that the jobs import, in order
        self._folders: dict[str, int] = {}  # directories of jobs that are not named by their number -> the number
        self._unnamed_datasets = set[str]()  # of the jobs that do not name one
        self._composer = Composer(hydra_context, config)
        self._configs, self._numbers = Configs(), set[int]()
        self._adopted: dict[int, Job] = {}  # by number, see `adopt`
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
        self.executor: Executor | None = None
        self.record: Record | None = None
        self.parent: str | None = None  # of the jobs' runs: see `Record.parent`
        self.unrecorded = ""  # what MLflow has not received completely, once the sweep has ended
        self.closing = ""  # last line of the report
        self.start = time.monotonic()
        if task_function is not None and executor is not None:
            self.executor = executor(partial(run_job, task_function=task_function, hydra_context=hydra_context))
            if early := [*(COMMON if self.is_ours else ()), *settings["preload"]]:
                self.executor.preload(early)  # while the jobs are composed

    # --- before the start ------------------------------------------------------------------------------------------

    def compose(self, overrides: list[str], number: int) -> Job:
        """The next job of the sweep. Raises ConfigError or Hydra's errors if the overrides do not give a valid configuration."""
        config, cfg, hashed = self._composed(overrides)
        entry = self.journal.recall(hashed)
        number = entry["number"] if entry else self.journal.free_number(number, self._numbers)
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        job = self._job(number, overrides, config, cfg, hashed)
        if self.is_ours and job.folder is not None:
            if job.directory.resolve() == self.directory.resolve():
                raise UserError(
                    f"hydra.sweep.subdir: job {number} would write to the directory of the sweep, {job.directory}; "
                    "choose a folder below it, such as ${hydra.job.num}"
                )
            other = self._folders.setdefault(job.folder, number)
            if other != number:  # the later one would replace the files of the other
                raise UserError(
                    f"hydra.sweep.subdir: jobs {other} and {number} would both write to {job.directory}; "
                    "add ${hydra.job.num} to it"
                )
        if entry:
            journals.restore(job, entry)
        self._numbers.add(number)
        adopted = self._adopted.pop(number, None)
        if adopted is None:
            self.tally.add(job)
        else:
            job.run_id = job.run_id or adopted.run_id
            self.tally.replace(adopted, job)
        return job

    def adopt(self) -> None:
        """Counts the jobs that earlier attempts have recorded, for a search, which does not compose them again."""
        for entry in self.journal.entries():
            job = Job(entry["number"], entry["overrides"], None, entry["identity"], self.directory, entry.get("folder"))
            journals.restore(job, entry)
            if not job.earlier and entry["state"] in states.ENDED:
                job.state, job.reason, job.seconds, job.earlier = (
                    entry["state"],
                    entry["reason"],
                    entry["elapsed"],
                    True,
                )
            self._adopted[job.number] = job
            self.tally.add(job)

    def sample(self, overrides: list[str]) -> Job:
        """A job with these overrides that is not part of the sweep. Raises as `compose`."""
        return self._job(-1, overrides, *self._composed(overrides))

    def _composed(self, overrides: list[str]) -> tuple[DictConfig, dict[str, Any], str]:
        """A configuration with the node `hydra`, its plain form, and its identity. Raises as `compose`."""
        composed = self._composer.compose(overrides)
        return composed, *self._read(composed)

    def _job(self, number: int, overrides: list[str], config: DictConfig, cfg: dict[str, Any], hashed: str) -> Job:
        if self.is_ours:
            self.modules.update(dict.fromkeys(modules_of(cfg)))
            if not any(override.lstrip("+").startswith("dataset=") for override in overrides):
                self._unnamed_datasets.add(str(cfg["dataset"]["name"]))
        gpus = len(visible_gpus()) if self.executor is None else self.executor.gpus
        folder = None if number < 0 else str(OmegaConf.select(config, "hydra.sweep.subdir"))
        folder = None if folder == str(number) else folder
        place = self._configs.add(config)
        return Job(number, overrides, self._configs, hashed, self.directory, folder, place, demand(cfg, gpus))

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

    def check(self, like: list[Job] | None = None, total: int | None = None) -> None:
        """Finds places for the jobs, or for jobs like these samples.

        Args:
            total: number of jobs; None if that is not known.

        Raises:
            ConfigError: a job needs more than there is.
            UserError: several machines would write to a database that only one can use.
        """
        if self.is_ours:
            refuse_sqlite(self._runner.others)
        waiting = [job for job in self.jobs if job.state == states.WAITING]
        jobs = like or waiting or self.jobs
        self._runner.check([job.demand for job in jobs], total if like else len(waiting))

    @property
    def _runner(self) -> Executor:
        if self.executor is None:
            raise RuntimeError("another launcher runs the jobs of this sweep")
        return self.executor

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
            listeners: of the queue.
            like: samples of the jobs of a search, which are not known in advance.
            artifacts: called at the end; returns files for the parent run.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
        """
        self.check(like, total)
        self.begin_record(grid)
        settings, executor = self.settings, self._runner
        self.queue = Queue(
            executor, self._request, settings["timeout"], settings["fail_fast"], settings.get("retries", 0)
        )
        status = "KILLED"
        self.display = Display(self.tally, total, _common([job.overrides for job in like or self.jobs]))
        if self.remark:
            self.display.print(self.remark)
        try:
            with self.display:
                self.display.hint("connecting")
                executor.open(self.directory)
                self.display.show(f"sweep of {total or '?'} jobs on {executor.places}: {_relative(self.directory)}")
                self._warm_up()
                record = [self.record] if self.record else []
                # those of a search come first: they decide by which metric a job counts, and whether it is accepted
                self.queue.listeners = [*listeners, self.tally, self, self.display, *record]
                # a prepared job would call the callbacks' `on_job_start` long before its turn
                callbacks = OmegaConf.select(self.config, "hydra.callbacks")
                self.queue.run(self._pending(jobs), ahead=like is None and not callbacks)
            failed = any(job.state in (states.FAILED, states.KILLED) for job in self.jobs)
            status = "FAILED" if failed or self.queue.draining else "FINISHED"
        except EOFError as error:
            status = "FAILED"
            self.queue.lose(str(error))
        finally:
            self.end(status, artifacts)

    @staticmethod
    def _pending(jobs: Iterable[Job]) -> Iterator[Job]:
        return (job for job in jobs if job.state not in (states.FINISHED, states.PRUNED))

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
            self.record = Record(self.config.tracking.experiment, argv, grid, self.journal, self.tally, self.directory)

    def abandon(self) -> None:
        """Ends the parent run of a sweep that cannot start. One that cannot resume stays as it was."""
        if self.record is not None:
            self.record.close(self.record.earlier_status)
            self.record = None

    def open_parent(self) -> None:
        """Waits for MLflow's answer about the parent run, which may not come. Raises UserError if MLflow refuses it."""
        if self.record is not None:
            self.parent = self.record.parent
            if self.record.run_id:
                self.journal.update(run_id=self.record.run_id)

    def _warm_up(self) -> None:
        """Returns when the first job can start, and the parent run is open."""
        self.display.hint("importing what the jobs need")
        self._runner.preload(list(self.modules))
        self.open_parent()
        while not self._runner.has_room:
            self._runner.receive(1.0)
            self.display.hint(self._runner.hint or "importing what the jobs need")
        self.display.hint("")

    def _request(self, job: Job) -> Request:
        config = job.config
        return Request(
            number=job.number,
            config=config,
            directory=str(job.directory),
            argv=[sys.argv[0], *_job_arguments(config, sys.argv[1:])],
            threads=self._runner.threads(job.demand),
            parent_run=self.parent,
            run_id=job.run_id,
            name=short_overrides(self.display.varied(job)) or None,
            prunable=bool(self.settings.get("prunes")),
        )

    def started(self, job: Job) -> None:
        self.journal.write(job)

    def opened(self, job: Job) -> None:
        self.journal.write(job)

    def lost(self, job: Job) -> None:
        self.journal.write(job)

    def ended(self, job: Job) -> None:
        self.journal.write(job)
        job.result = states.NO_RESULT  # the journal has it

    def end(self, status: str, artifacts: Callable[[], list[Path]] | None = None) -> None:
        """Closes the parent run as FINISHED, FAILED or KILLED, and prints the summary."""
        resume = shlex.join(["mlrun", "resume", _relative(self.directory)])
        if self.record:
            self.record.close(status, artifacts() if artifacts else [])
            self.unrecorded = self._unrecorded(self.record)
        summary(
            self.tally,
            self.display,
            self.journal,
            resume,
            time.monotonic() - self.start,
            self.record.run_id if self.record else None,
        )
        if self.remark:
            self.display.print(self.remark)
        if self.unrecorded:
            self.display.print(
                f"{self.unrecorded}. To send the rest: {shlex.join(['mlrun', 'sync', _relative(self.directory)])}"
            )
        if self.closing:
            print(self.closing)
        self.record = None

    @property
    def remark(self) -> str:
        """Warns of a ranking over several datasets; empty if there is one, or if the overrides name them."""
        if len(self._unnamed_datasets) < 2:
            return ""
        names = ", ".join(sorted(self._unnamed_datasets))
        return f"the jobs use different datasets ({names}), so their values are not comparable; dataset=NAME sets one for all"

    def _unrecorded(self, record: Record) -> str:
        """What MLflow has not received completely, in words; empty if nothing is missing."""
        jobs = [job.number for job in self.jobs if job.state in states.ENDED and Spool(job.directory).exists]
        missing = [f"job{'s' * (len(jobs) > 1)} {', '.join(map(str, jobs))}"] if jobs else []
        missing += [f"the sweep's own run ({record.refused})"] if record.refused else []
        return f"MLflow has not received all data of {' and '.join(missing)}" if missing else ""

    def close(self) -> None:
        """Ends the executor; safe to call twice."""
        if self.executor is not None:
            self.executor.close()
        self._lock.close()


def modules_of(cfg: dict[str, Any]) -> list[str]:
    """The modules that a job imports: those of its targets, of the training loop or of the estimators."""
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
