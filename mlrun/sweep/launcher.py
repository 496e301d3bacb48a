"""Hydra's launcher interface, implemented by a `Sweep`."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf, open_dict, read_write

from mlrun.config.hydra_internals import job_return, register_hydra_resolvers
from mlrun.errors import SweepFailed, UserError
from mlrun.sweep import job as states
from mlrun.sweep.job import Job
from mlrun.sweep.sweep import Sweep, grid_of

if TYPE_CHECKING:
    from hydra_plugins.mlrun_pool import QueueLauncher
    from mlrun.config.hydra_internals import JobReturn


def prepare(launcher: QueueLauncher, job_overrides: Sequence[Sequence[str]]) -> None:
    """Composes and checks all jobs, so that nothing is written or started if one of them is wrong. Raises ConfigError."""
    sweep = _sweep(launcher)
    try:
        jobs = sweep.compose_all([list(overrides) for overrides in job_overrides], 0)
        sweep.check(total=len(jobs))
    except BaseException:
        sweep.close()
        raise
    launcher.prepared = dict(enumerate(jobs))


def launch(launcher: QueueLauncher, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Runs one batch of jobs. The sweep stays open for further batches. `launcher.sweep.unrecorded` says what MLflow has not received."""
    sweep = _sweep(launcher)
    try:
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        if all(number in launcher.prepared for number in numbers):
            jobs = [launcher.prepared[number] for number in numbers]
        else:
            jobs = sweep.compose_all([list(overrides) for overrides in job_overrides], initial_job_idx)
        sweep.run(jobs, len(sweep.jobs), grid_of([job.overrides for job in sweep.jobs]))
    except BaseException:
        sweep.close()
        raise
    return [_as_return(job, sweep) for job in jobs]


def search(launcher: QueueLauncher, settings: Mapping[str, Any], arguments: Sequence[str]) -> float:
    """Runs a search.

    Args:
        settings: conf/hydra/sweeper/optuna.yaml.
        arguments: overrides on the command line, searched ones among them.

    Returns:
        The best value.

    Raises:
        UserError: the launcher has no queue, or the search space is wrong.
        SweepFailed: no trial finished within the limits, or MLflow has not received everything.
    """
    from mlrun.sweep.search import Search

    if not hasattr(launcher, "sweep"):
        raise UserError(
            "hydra/sweeper=optuna starts a trial whenever a slot is free, which only hydra/launcher=pool and ray support"
        )
    plain = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in settings.items()
    }
    sweep = _sweep(launcher)
    try:
        searching = Search(plain, sweep, list(arguments))
        searching.check()
        best = searching.run()
    finally:
        sweep.close()
    if best is None:
        raise SweepFailed("no trial finished within the limits")
    if sweep.unrecorded:
        raise SweepFailed(sweep.unrecorded)
    return best


def _sweep(launcher: QueueLauncher) -> Sweep:
    if launcher.sweep is None:
        register_hydra_resolvers()
        launcher.sweep = Sweep(
            launcher.settings,
            launcher.hydra_context,
            launcher.task_function,
            launcher.config,
            launcher.executor,
        )
        atexit.register(launcher.sweep.close)
    return launcher.sweep


def _as_return(job: Job, sweep: Sweep) -> JobReturn:
    """What Hydra's callers receive for a job; of mlrun's own jobs without their configurations, which many jobs would keep in memory."""
    finished = job.state == states.FINISHED
    value = job.returned if finished else None
    failure = None if finished else SweepFailed(f"job {job.number}: {job.state} {job.reason}".rstrip())
    if sweep.is_ours:
        return job_return(value, failure, overrides=job.overrides)
    config, result = job.config, sweep.journal.result(job)
    with read_write(config), open_dict(config):
        config.hydra.runtime.output_dir = str(job.directory)
    task = config.copy()
    with read_write(task), open_dict(task):
        del task["hydra"]
    hydra = OmegaConf.masked_copy(config, ["hydra"])
    return job_return(
        value,
        failure,
        overrides=OmegaConf.to_container(config.hydra.overrides.task),
        cfg=task,
        hydra_cfg=hydra,
        working_dir=result.get("working_dir") or str(Path.cwd()),
        task_name=result.get("task_name") or config.hydra.job.name,
    )
