"""`hydra/launcher=pool`: a queue of jobs over GPUs and CPU slots. Hydra accepts launchers only from this package; the work is in mlrun.sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mlrun.config.compose import CONF, register_resolvers

if TYPE_CHECKING:
    from mlrun.config.hydra_internals import JobReturn
    from mlrun.sweep.job import Job
    from mlrun.sweep.sweep import Sweep

register_resolvers()  # also in the processes of other launchers, which import this module to unpickle their job

# For other Hydra applications, whose search path does not contain our conf/: `hydra/launcher=mlrun_pool`.
_PATH = CONF / "hydra" / "launcher" / "pool.yaml"
if _PATH.is_file():
    ConfigStore.instance().store(
        group="hydra/launcher", name="mlrun_pool", node=OmegaConf.load(_PATH), provider="mlrun"
    )


class PoolLauncher(Launcher):
    """Its arguments are the keys of conf/hydra/launcher/pool.yaml."""

    def __init__(
        self,
        slots: str | int = "auto",
        threads: str | int = "auto",
        jobs_per_gpu: int = 1,
        timeout: float | None = None,
        fail_fast: bool = False,
        preload: Sequence[str] = (),
        resume: bool = False,
    ):
        self.settings: dict[str, Any] = {
            "slots": slots, "threads": threads, "jobs_per_gpu": jobs_per_gpu, "timeout": timeout, "fail_fast": fail_fast,
            "preload": list(preload), "resume": resume,
        }  # fmt: skip
        self.sweep: Sweep | None = None
        self.prepared: dict[int, Job] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def prepare(self, job_overrides: Sequence[Sequence[str]], resume: bool = False) -> None:
        """Composes and checks all jobs of all batches."""
        from mlrun.sweep.launcher import prepare

        self.settings["resume"] = self.settings["resume"] or resume
        prepare(self, job_overrides)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs one batch."""
        from mlrun.sweep.launcher import launch

        return launch(self, job_overrides, initial_job_idx)
