"""One sweep from its jobs' overrides to their results: composed, checked, recorded, run and summed up."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from omegaconf import OmegaConf, open_dict

from mlrun.errors import ConfigError, UserError
from mlrun.sweep import job as states
from mlrun.sweep import journal as journals
from mlrun.sweep.display import Display, summary
from mlrun.sweep.job import Job
from mlrun.sweep.journal import Journal
from mlrun.sweep.pool import Pool
from mlrun.sweep.record import Record, recall_runs
from mlrun.sweep.server import COMMON, Request, Server
from mlrun.sweep.slots import demand, share_out, visible_gpus


class Sweep:
    """Keeps a warm server, a journal and the parent run, for one or several batches of jobs.

    settings: conf/hydra/launcher/pool.yaml; config: Hydra's configuration of the sweep; warm: whether its own server runs the jobs.
    """

    def __init__(self, settings: dict, hydra_context, task_function, config, warm: bool = True):
        from mlrun.sweep.worker import run_job

        self.settings, self.context, self.config = settings, hydra_context, config
        self.directory = Path(str(config.hydra.sweep.dir)).resolve()
        self.jobs: list[Job] = []
        self.gpus = visible_gpus()
        self.is_ours = OmegaConf.is_dict(config.get("model")) and "tracking" in config
        self.journal = Journal(self.directory)
        self.resumes = bool(settings["resume"])
        if self.journal.exists and not self.resumes and not self.is_ours:
            self.journal.forget()  # other applications of Hydra are used to that
        elif self.journal.exists and not self.resumes:
            raise UserError(
                f"{self.directory} holds a sweep already. To go on with it: mlrun resume {shlex.quote(str(self.directory))}; "
                f"for a new one choose another hydra.sweep.dir."
            )
        self.server = warm and Server(partial(run_job, task_function=task_function, hydra_context=hydra_context))
        self.record = None
        self.closing = ""  # a last line of the report
        self.display = None
        self.begin = time.monotonic()
        self._importing = 0  # requests to the server that it has not answered
        if warm and (early := [*(COMMON if self.is_ours else ()), *settings["preload"]]):
            self._import(early)  # while the jobs are composed

    # --- before the start ------------------------------------------------------------------------------------------

    def compose(self, overrides: list[str], number: int) -> Job:
        """The next job. Raises Hydra's or our own errors for overrides that make no valid configuration."""
        job = self.sample(overrides)
        composed, identity = job.config, job.identity
        taken = {job.number for job in self.jobs}
        entry = self.journal.recall(identity, taken)
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
        """What a job with these overrides would be; it is not part of the sweep."""
        composed = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        cfg, identity = self._read(composed)
        return Job(-1, list(overrides), composed, identity, self.directory, demand(cfg, len(self.gpus)))

    def compose_all(self, batch: list[list[str]], first: int) -> list[Job]:
        """All jobs, or a ConfigError with the problems of all. Raises Hydra's own errors where a job cannot even be composed."""
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

    def _read(self, composed) -> tuple[dict, str]:
        """The job's plain configuration and identity. Raises ConfigError for a configuration that cannot work."""
        if not self.is_ours:
            plain = OmegaConf.to_container(composed, resolve=False)
            plain.pop("hydra", None)
            return plain, hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
        from mlrun.config.compose import without_hydra
        from mlrun.config.instantiate import plain
        from mlrun.config.validate import validate
        from mlrun.experiment.run import identity

        cfg = without_hydra(composed)
        errors, _ = validate(cfg, list(composed.hydra.overrides.task))
        if errors:
            raise ConfigError(errors)
        cfg = plain(cfg)
        return cfg, identity(cfg)

    def check(self, like: list[Job] | None = None) -> None:
        """A `Pool` for what the jobs (or, of a search, jobs like these) ask for. Raises ConfigError if that is more than there is."""
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
        grid: dict,
        listeners=(),
        like: list[Job] | None = None,
        artifacts=None,
    ) -> None:
        """Runs jobs as slots become free. Raises KeyboardInterrupt after Ctrl-C; a failed job raises nothing.

        like: for a search, whose jobs are not known yet, samples of them; artifacts(): files for the parent run, made at the end.
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
                self.display.say(f"sweep of {total or '?'} jobs on {places}: {_relative(self.directory)}")
                self._warm_up(like or self.jobs)
                self.pool.listeners = [*listeners, self, self.display, *([self.record] if self.record else [])]
                # `on_job_start` is not to be called long before
                callbacks = OmegaConf.select(self.config, "hydra.callbacks")
                self.pool.run(self._pending(jobs), ahead=like is None and not callbacks)
            failed = any(job.state in (states.FAILED, states.KILLED) for job in self.jobs)
            status = "FAILED" if failed or self.pool.draining else "FINISHED"
        except EOFError:
            status = "FAILED"
            for job in self.pool.running.values():
                job.state, job.reason = states.FAILED, "the sweep's server was ended from outside"
                self.ended(job)
        finally:
            self.end(status, artifacts)

    def _kinds(self):
        return sorted({slot.kind for slot in self.pool.slots.all})

    def _pending(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            if job.state in (states.FINISHED, states.PRUNED):
                continue
            yield job

    def begin_record(self, grid: dict) -> None:
        """Opens journal and parent run; before anything heavy is imported here, so that the recorder is a process and outlives this one."""
        argv = sys.argv[1:]
        experiment = OmegaConf.select(self.config, "tracking.experiment")
        facts = {"argv": argv, "cwd": os.getcwd(), "grid": grid, "experiment": experiment}
        self.journal.begin(**{key: value for key, value in facts.items() if key not in self.journal.sweep})
        if self.is_ours and self.journal.sweep.get("run_id"):
            recall_runs(self.jobs, experiment, self.journal.sweep["run_id"])
        if self.is_ours and self.record is None:
            self.record = Record(self.config.tracking.experiment, argv, grid, self.journal, self.jobs, self.directory)

    def _warm_up(self, like: list[Job]) -> None:
        modules = modules_of([job.config for job in like if job.state == states.WAITING]) if self.is_ours else []
        self.display.note("importing what the jobs need")
        self._import(modules)
        if self.record is not None:
            self.journal.begin(run_id=self.record.id)
        while self._importing:
            report = self.server.receive(1.0)
            self._importing -= bool(report and report[0] == "ready")
        self.display.note("")

    def _import(self, modules: list[str]) -> None:
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
            parent_run=self.record.id if self.record else None,
            run_id=job.run_id,
            stop_when_told=bool(self.settings.get("prunes")),
        )

    def started(self, job: Job) -> None:
        self.journal.write(job)

    def opened(self, job: Job) -> None:
        self.journal.write(job)

    def ended(self, job: Job) -> None:
        self.journal.write(job)

    def end(self, status: str, artifacts=None) -> None:
        """Closes the parent run and says what came out."""
        resume = shlex.join(["mlrun", "resume", _relative(self.directory)])
        if self.record:
            self.record.close(status, artifacts() if artifacts else [])
        summary(
            self.jobs,
            self.display,
            self.directory,
            resume,
            time.monotonic() - self.begin,
            self.record and self.record.run_id,
        )
        if self.closing:
            print(self.closing)
        self.record = None

    def close(self) -> None:
        """Ends the server; safe to call twice."""
        with suppress(OSError):
            self.server.close()


def modules_of(configs: list) -> list[str]:
    """Modules that jobs will import: those of their targets, and the backends."""
    found: dict[str, None] = {}

    def visit(node):
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
        cfg = OmegaConf.to_container(config, resolve=False)
        model = cfg.get("model") or {}
        network = model.get("_target_") is not None
        found["mlrun.training.learner" if network else "mlrun.estimators.learner"] = None
        found["mlrun.data.batches" if network else "mlrun.estimators.roles"] = None
        for group in ("model", "dataset", *(("optim", "scheduler") if network else ())):
            visit(cfg.get(group))
        if not network:
            found.update(dict.fromkeys(("sklearn.pipeline", "pandas")))
    return list(found)


def grid_of(overrides: list[list[str]]) -> dict[str, list[str]]:
    """What is varied: key -> its values in order."""
    values: dict[str, dict] = {}
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


def _job_arguments(config, typed: list[str]) -> list[str]:
    """The command line that would run this job alone: the user's options, without those of the sweep, and the job's overrides."""
    options = []
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
