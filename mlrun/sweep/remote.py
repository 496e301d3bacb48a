"""Sweeps through other launchers (submitit), which decide where and when a job runs. Checks, parent run, journal and resume are the same.

`hydra.job.env_set`, which every launcher passes on, carries what a job needs to know. Each job writes its end into the sweep's journal
itself: the process that started the sweep may be gone by then.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config.passwords import is_masked, masked
from mlrun.errors import ConfigError, SweepFailed, UserError
from mlrun.sweep import job as states
from mlrun.sweep.display import Display
from mlrun.sweep.job import Job, reason_of_error
from mlrun.sweep.journal import Journal, restore
from mlrun.sweep.slots import Demand
from mlrun.sweep.sweep import Sweep, grid_of

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig

# environment variables of a job; TRACKED is where it records, without the password
DIRECTORY, PARENT, NUMBER, IDENTITY = "MLRUN_SWEEP", "MLRUN_PARENT_RUN", "MLRUN_JOB", "MLRUN_IDENTITY"
TRACKED = "MLRUN_TRACKED"


def sweep(
    launcher: Launcher, hydra_context: HydraContext, config: DictConfig, batch: list[list[str]], resume: bool
) -> list[Any]:
    """Runs the jobs of a grid that have not finished yet.

    Args:
        config: Hydra's configuration of the sweep.
        batch: overrides of each job.
        resume: whether the directory holds a sweep that resumes.

    Returns:
        What Hydra's launcher returned.

    Raises:
        SweepFailed: a job failed, or MLflow has not received everything.
    """
    from omegaconf import open_dict

    from mlrun.tracking.store import tracking_uri

    engine = Sweep({"resume": resume, "preload": []}, hydra_context, None, config)
    jobs = engine.compose_all(batch, 0)
    engine.begin_record(grid_of(batch))
    record = engine.record
    if record is None:
        raise ConfigError("this is not a configuration of mlrun: it has no model")
    engine.display = Display(engine.tally, len(jobs))
    todo = [job for job in jobs if not job.earlier]
    engine.display.show(f"sweep of {len(jobs)} jobs through {type(launcher).__name__}: {engine.directory}")
    returned: list[Any] = []
    status = "KILLED"
    try:
        engine.open_parent()
        address = masked(tracking_uri())
        common = {DIRECTORY: engine.directory, PARENT: engine.parent, TRACKED: address}
        if not is_masked(address):  # Hydra stores these variables, and launchers pickle them
            common["MLFLOW_TRACKING_URI"] = tracking_uri()
        with open_dict(config):
            config.hydra.overrides.hydra += [f"++hydra.job.env_set.{key}='{value}'" for key, value in common.items()]
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{engine.directory}'")
        _request_gpus(
            launcher, max((job.demand for job in todo), key=lambda demand: demand.count, default=Demand("cpu"))
        )
        for job in todo:
            engine.journal.write(job)
        overrides = [
            [*job.overrides, f"hydra.sweep.subdir='{job.number}'", f"++hydra.job.env_set.{NUMBER}='{job.number}'",
             f"++hydra.job.env_set.{IDENTITY}='{job.identity}'"]
            for job in todo
        ]  # fmt: skip
        try:
            returned = list(launcher.launch(overrides, initial_job_idx=0)) if overrides else []
        except Exception as error:  # a job that died without a report ends the launcher's waiting, not the other jobs
            logging.getLogger("mlrun").exception("the launcher failed")
            engine.display.show(f"{type(launcher).__name__}: {reason_of_error(error)}")
        for job, entry in zip(todo, Journal(engine.directory).read([job.number for job in todo])):
            engine.tally.started(job)
            restore(job, entry)
            job.earlier, job.state, job.reason = False, entry["state"], entry["reason"]
            job.result = entry["result"]
            if job.state not in states.ENDED:
                job.state = states.FAILED
                job.reason = "its process ended without a report; see the logs of the launcher"
            for listener in (engine.tally, engine, record):
                listener.ended(job)
        failed = [job for job in jobs if job.state != states.FINISHED]
        status = "FAILED" if failed else "FINISHED"
    finally:
        engine.end(status)
        engine.close()
    if failed:
        raise SweepFailed(f"{len(failed)} of {len(jobs)} jobs failed")
    if engine.unrecorded:
        raise SweepFailed(engine.unrecorded)
    return returned


def _request_gpus(launcher: Any, demand: Demand) -> None:
    """Makes the launcher reserve as many GPUs as a job uses, unless the user has set a number."""
    if demand.kind != "gpu":
        return
    if type(launcher).__name__ == "SlurmLauncher" and not any(
        launcher.params.get(key) for key in ("gpus_per_node", "gres", "gpus_per_task")
    ):
        launcher.params["gpus_per_node"] = demand.count


def run(cfg: DictConfig, hydra_cfg: HydraConf) -> float | None:
    """Runs a job in a process that another launcher has started. Returns the value of the watched metric."""
    from mlrun.experiment.run import run as run_experiment
    from mlrun.report import terminal
    from mlrun.sweep.worker import RESULT, checkpoint_to_resume
    from mlrun.tracking.store import tracking_uri

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    environment, directory = os.environ, Path(hydra_cfg.runtime.output_dir)
    if masked(tracking_uri()) != environment[TRACKED]:
        raise UserError(
            f"the sweep is recorded at {environment[TRACKED]}: set MLFLOW_TRACKING_URI for its jobs, with the password"
        )
    journal = Journal(environment[DIRECTORY])
    overrides = [override for override in hydra_cfg.overrides.task if not override.lstrip("+").startswith("hydra.")]
    job = Job(int(environment[NUMBER]), overrides, None, environment[IDENTITY], directory, "", state=states.RUNNING)
    entry = journal.entry(job.number)
    if entry:
        job.run_id, job.attempts = entry["run_id"], entry["attempts"]
    job.attempts += 1

    def opened(run_id: str) -> None:
        job.run_id = run_id
        if job.state == states.RUNNING:
            journal.write(job)

    start = time.monotonic()
    try:
        checkpoint = checkpoint_to_resume(directory, cfg, job.run_id)
        result = run_experiment(
            cfg, directory, overrides, environment[PARENT], terminal, job.run_id, opened, checkpoint
        )
    except BaseException as error:
        job.state, job.reason = (
            (states.FAILED if isinstance(error, Exception) else states.KILLED),
            reason_of_error(error),
        )
        raise
    else:
        job.result = {name: getattr(result, name) for name in RESULT}
        job.state, job.returned, job.run_id = states.FINISHED, result.objective, result.run_id
        job.monitor, job.mode = result.monitor, result.mode
        return result.objective
    finally:
        job.seconds = time.monotonic() - start
        journal.write(job)
