"""`hydra/sweeper=optuna`: a search instead of every combination. The work is in mlrun.sweep.search."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from mlrun.config.hydra_internals import instantiate_launcher


class OptunaSweeper(Sweeper):
    """Its arguments are the keys of conf/hydra/sweeper/optuna.yaml."""

    hydra_context: HydraContext
    config: DictConfig
    launcher: Any  # `search` rejects every launcher except the pool

    def __init__(self, **settings: Any):
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> float | None:
        """Runs the search; returns the best value."""
        from mlrun.sweep.launcher import search

        if self.settings.pop("resume", False) and hasattr(self.launcher, "settings"):
            self.launcher.settings["resume"] = True
        return search(self.launcher, self.settings, arguments)
