"""`hydra/sweeper=grid`: every combination, like Hydra's own sweeper, but all jobs are composed and checked before the first one starts.

Through other launchers than the pool, mlrun's jobs are recorded and resumed in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mlrun.config.hydra_internals import combinations, instantiate_launcher, parse_overrides
from mlrun.config.schema import check_settings
from mlrun.errors import SweepFailed


class GridSweeper(Sweeper):
    """Its arguments are the keys of conf/hydra/sweeper/grid.yaml.

    Args:
        max_batch_size: jobs that the launcher receives at once; None for all.
        params: swept keys in addition to those of the command line, `{optim.lr: "0.1,0.01"}`.
        resume: skips the jobs that an earlier attempt finished.
        suitable_only: leaves out jobs whose model is not for the problem of their data.
    """

    hydra_context: HydraContext
    config: DictConfig
    launcher: Any  # the pool prepares all jobs, and knows what MLflow has not received

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        resume: bool = False,
        suitable_only: bool = False,
    ):
        self.max_batch_size, self.params, self.resume = max_batch_size, params or {}, resume
        self.suitable_only = suitable_only

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Runs all jobs; returns what the launcher returns of each batch.

        Raises:
            SweepFailed: MLflow has not received everything. What a job raised is raised here, too.
        """
        params: Any = OmegaConf.to_container(self.params) if OmegaConf.is_config(self.params) else self.params
        check_settings("hydra.sweeper", {"max_batch_size": self.max_batch_size, "params": params})
        texts = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        jobs = combinations(parse_overrides(texts, self.hydra_context.config_loader))
        if self.suitable_only:
            from mlrun.sweep.suitable import suitable

            jobs = suitable(jobs, self.hydra_context, self.config)
        if hasattr(self.launcher, "prepare"):
            self.launcher.prepare(jobs, self.resume)
            returned = self._launch(jobs)
            if unrecorded := self.launcher.sweep.unrecorded:
                raise SweepFailed(unrecorded)
            return returned
        if "tracking" in self.config:
            from mlrun.sweep.remote import sweep

            return [sweep(self.launcher, self.hydra_context, self.config, jobs, self.resume)]
        return self._launch(jobs)

    def _launch(self, jobs: list[list[str]]) -> list[Any]:
        directory = Path(self.config.hydra.sweep.dir)
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, directory / "multirun.yaml")
        size, returned = max(self.max_batch_size or 0, 0) or len(jobs), []
        for start in range(0, len(jobs), size):
            batch = jobs[start : start + size]
            self.validate_batch_is_legal(batch)
            results = self.launcher.launch(batch, initial_job_idx=start)
            for result in results:
                _ = result.return_value  # raises what the job raised
            returned.append(results)
        return returned

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes every job, unless the launcher has done so in `prepare`."""
        if not hasattr(self.launcher, "prepare"):
            super().validate_batch_is_legal(batch)
