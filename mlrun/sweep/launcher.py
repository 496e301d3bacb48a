"""What Hydra's launcher interface asks for, done by a `Sweep`."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf, open_dict, read_write

from mlrun.config.hydra_internals import job_return, register_hydra_resolvers
from mlrun.errors import SweepFailed, UserError
from mlrun.sweep import job as states
from mlrun.sweep.job import Job
from mlrun.sweep.sweep import Sweep, grid_of

if TYPE_CHECKING:
    from mlrun.config.hydra_internals import JobReturn


def prepare(launcher, job_overrides) -> None:
    """Composes and checks all jobs, so that nothing is made or started if one of them is wrong."""
    sweep = _sweep(launcher)
    try:
        jobs = sweep.compose_all([list(overrides) for overrides in job_overrides], 0)
        sweep.check()
    except BaseException:
        sweep.close()
        raise
    launcher.prepared = dict(enumerate(jobs))


def launch(launcher, job_overrides, initial_job_idx: int) -> list[JobReturn]:
    """Runs one batch. The sweep stays for further batches."""
    sweep = _sweep(launcher)
    try:
        batch = [list(overrides) for overrides in job_overrides]
        jobs = [launcher.prepared.get(initial_job_idx + index) for index in range(len(batch))]
        if None in jobs:
            jobs = sweep.compose_all(batch, initial_job_idx)
        sweep.run(jobs, len(sweep.jobs), grid_of([job.overrides for job in sweep.jobs]))
    except BaseException:
        sweep.close()
        raise
    return [as_return(job) for job in jobs]


def search(launcher, settings, arguments: list[str]) -> float | None:
    """Runs a search; returns the best value. Raises SweepFailed if it found none."""
    from omegaconf import OmegaConf

    from mlrun.sweep.search import Search

    if not hasattr(launcher, "sweep"):
        raise UserError(
            "hydra/sweeper=optuna asks for a trial whenever a slot is free, which only hydra/launcher=pool can do"
        )
    settings = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in settings.items()
    }
    sweep = _sweep(launcher)
    try:
        searching = Search(settings, sweep, list(arguments))
        searching.check()
        best = searching.run()
    finally:
        sweep.close()
    if best is None:
        raise SweepFailed("no trial finished, or none was good enough")
    return best


def _sweep(launcher) -> Sweep:
    if launcher.sweep is None:
        register_hydra_resolvers()
        launcher.sweep = Sweep(launcher.settings, launcher.hydra_context, launcher.task_function, launcher.config)
        atexit.register(launcher.sweep.close)
    return launcher.sweep


def as_return(job: Job) -> JobReturn:
    config = job.config
    with read_write(config), open_dict(config):
        config.hydra.runtime.output_dir = str(job.directory)
    task = config.copy()
    with read_write(task), open_dict(task):
        del task["hydra"]
    hydra = OmegaConf.masked_copy(config, ["hydra"])
    finished = job.state == states.FINISHED
    return job_return(
        job.returned if finished else None,
        None if finished else SweepFailed(f"job {job.number}: {job.state} {job.reason}".rstrip()),
        overrides=OmegaConf.to_container(config.hydra.overrides.task),
        cfg=task,
        hydra_cfg=hydra,
        working_dir=job.result.get("working_dir") or str(Path.cwd()),
        task_name=job.result.get("task_name") or config.hydra.job.name,
    )
