"""The Hydra application, which runs experiments from overrides. Shared by `mlrun OVERRIDES` and `mlrun resume SWEEP`."""

from __future__ import annotations

import atexit
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlrun.commands import TRUST
from mlrun.config.hydra_internals import CommandLine, parse_command_line, run_composed
from mlrun.errors import ConfigError, SweepFailed, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mlrun.experiment.run import Result

_NOT_WRITABLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EEXIST,
}  # fmt: skip
_MULTIRUN = {"-m", "--multirun"}


def hydra_application(argv: list[str]) -> int:
    """Runs an experiment or a sweep, or prints what an option of Hydra's (`--cfg`, `--info` ...) asks for.

    Args:
        argv: overrides and Hydra's options, as after `mlrun`.

    Returns:
        The exit status: 1 where a job of a sweep failed or MLflow did not take everything, else 0.

    Raises:
        ConfigError: everything that is wrong with the command line, before any work.
        UserError: the directory cannot be written, or the options contradict each other.
        Exception: whatever a single run raised.
    """
    from mlrun.config.compose import CONF, CONFIG_NAME, register_resolvers
    from mlrun.config.explain import COMPOSITION_ERRORS, checked_composition, explain, quoted

    register_resolvers()
    resumes = "resume=auto" in argv
    argv = [quoted(word) for word in _as_follower(_with_resume(_with_select(argv)))]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    sys.argv[1:] = argv
    command = parse_command_line(argv)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # closes the run, as Ctrl-C does
    failures: list[Exception] = []
    unrecorded: list[Result] = []
    job = _job(failures, unrecorded)
    try:
        if command.runs:
            check_configuration(command)
            if resumes and not command.multirun and (directory := _unfinished_run(command)):
                from mlrun.experiment.resuming import find, resume_run

                consent = [TRUST] * (TRUST in argv)
                # Lightning starts the other processes of a distributed run with it
                sys.argv[1:] = ["resume", directory, *consent]
                return resume_run(find(directory, bool(consent)), consent)
        if not (command.plain and command.runs and run_composed(checked_composition(command.overrides), job)):
            import hydra

            hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG_NAME)(job)()
    except SweepFailed:  # the sweep has printed which job failed and why, and what MLflow has not received
        return 1
    except COMPOSITION_ERRORS as error:  # before OSError: some are both
        problems = explain(command.overrides, command.config_dir, error)
        if not problems:
            raise
        raise ConfigError(problems) from None
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise UserError(
            f"cannot write here: {error}. Go to another directory, or set hydra.run.dir=DIRECTORY."
        ) from None
    if failures:
        raise failures[0]
    if command.runs and not command.multirun:
        from mlrun.warm.offer import offer

        offer()
    return 1 if unrecorded else 0


def check_configuration(command: CommandLine) -> None:
    """Rejects an invalid configuration before any work: no directory is made, nothing heavy imported. Prints warnings to stderr.

    Of a sweep it checks the alternatives one by one; the launcher checks every job.

    Raises:
        ConfigError: with all problems.
    """
    from mlrun.config.catalogue import hidden
    from mlrun.config.explain import explain

    if command.config_dir and not os.path.isdir(command.config_dir):
        raise ConfigError(f"--config-dir {command.config_dir}: there is no such directory")
    warnings: list[str] = []
    errors = explain(command.overrides, command.config_dir, warnings=warnings)
    if not errors and not command.multirun:
        warnings += [
            f"conf/{name} has no effect: mlrun has a file of that name; give yours another" for name in hidden()
        ]
        for line in warnings:
            print(f"mlrun: warning: {line}", file=sys.stderr)
    if errors:
        raise ConfigError(errors)


def _job(failures: list[Exception], unrecorded: list[Result]) -> Callable[[DictConfig], float | None]:
    """What Hydra calls with the configuration of a run or of a sweep's job; returns the watched metric.

    An exception of a single run, and a result that MLflow did not take, are added to the lists: Hydra would print the
    exception in its own way.
    """
    from mlrun.experiment.processes import die_with_parent, is_follower

    is_first_process = not is_follower()
    if not is_first_process:
        die_with_parent(os.getppid())

    def job(cfg: DictConfig) -> float | None:
        import logging

        from hydra.core.hydra_config import HydraConfig

        from mlrun.experiment.run import run
        from mlrun.report import silent, terminal
        from mlrun.sweep import worker

        logging.captureWarnings(True)  # into the run's log, not between the lines of the report
        hydra_cfg = HydraConfig.get()
        if "MLRUN_SWEEP" in os.environ:  # a job that another launcher started
            from mlrun.sweep import remote

            return remote.run(cfg, hydra_cfg)
        if worker.current is not None:  # a job of the pool
            return worker.current.run(cfg, hydra_cfg)
        report = terminal if is_first_process else silent
        try:
            result = run(cfg, hydra_cfg.runtime.output_dir, list(hydra_cfg.overrides.task), report=report)
        except Exception as error:
            failures.append(error)
            return None
        if not result.recorded:
            unrecorded.append(result)
        return result.objective

    return job


def _as_follower(argv: list[str]) -> list[str]:
    """The command line for one of several processes that torchrun or srun has started: all but the first write nothing.

    Raises:
        UserError: it is a sweep, which would run once in every process.
    """
    from mlrun.experiment.processes import is_follower, is_started_by_launcher

    if not is_started_by_launcher():
        return argv
    if _MULTIRUN & set(argv):
        raise UserError(
            "a sweep is started once, not by torchrun or srun; its jobs start their own processes (trainer.devices)"
        )
    if not is_follower():
        return argv
    folder = tempfile.mkdtemp(prefix="mlrun_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [*argv, f"hydra.run.dir={folder}", "hydra.output_subdir=null"]


def _with_select(argv: list[str]) -> list[str]:
    """The command line with `select.maximize=…` and `select.subject_to=…` as one setting of the sweeper.

    Hydra's grammar cannot read a limit such as `predict_ms<1`.
    """
    words = [word for word in argv if word.startswith("select.")]
    if words and not _MULTIRUN & set(argv):
        raise UserError(
            f"{words[0]}: there is nothing to choose from in a single run; use it with a search (mlrun -m hydra/sweeper=optuna ...) or with mlrun leaderboard"
        )
    written = ",".join(json.dumps(word.removeprefix("select.")) for word in words)
    return [word for word in argv if word not in words] + [f"hydra.sweeper.select=[{written}]"] * bool(words)


def _with_resume(argv: list[str]) -> list[str]:
    """The command line with `resume=…` as a setting of the sweeper.

    `mlrun -m ... resume=true` resumes the sweep in hydra.sweep.dir, else the newest one of the same command;
    `resume=auto` does so if there is one.
    """
    given = [word for word in argv if word in ("resume=true", "resume=auto")]
    if not given:
        return argv
    from mlrun.sweep.journal import latest

    argv = [word for word in argv if word not in given]
    if not _MULTIRUN & set(argv):
        if "resume=true" in given:
            raise UserError(
                "resume=true is for sweeps (-m); resume one run with mlrun resume RUN, or with resume=auto if there is one"
            )
        return argv
    if not any(word.startswith("hydra.sweep.dir=") for word in argv):
        directory = latest(argv)
        if directory is None and "resume=auto" in given:
            return argv
        if directory is None:
            raise UserError(
                "resume=true: no sweep of this command in ./outputs; give its directory: hydra.sweep.dir=DIR"
            )
        argv = [*argv, f"hydra.sweep.dir={directory}"]
    return [*argv, "hydra.sweeper.resume=true"]


def _unfinished_run(command: CommandLine) -> str | None:
    """The directory of an unfinished run of this configuration: hydra.run.dir where that is given, else the newest in ./outputs."""
    from mlrun.config.compose import compose
    from mlrun.config.identity import identity
    from mlrun.config.instantiate import plain
    from mlrun.experiment.state import newest_unfinished
    from mlrun.tracking.run_directory import read_record

    wanted = identity(plain(compose(command.overrides, command.config_dir)))
    given = [
        text.partition("=")[2].strip("'\"")
        for text in command.overrides
        if text.lstrip("+").startswith("hydra.run.dir=")
    ]
    if not given:
        newest = newest_unfinished(wanted, "outputs")
        return None if newest is None else str(newest)
    record = read_record(given[-1])
    unfinished = record.get("identity") == wanted and record.get("status") != "FINISHED"
    return given[-1] if unfinished else None
