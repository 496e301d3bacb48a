"""`hydra/launcher=pool`: a queue of jobs over GPUs and CPU slots. Hydra accepts launchers only from this package; the work is in mlrun.sweep."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mlrun.config.compose import CONF, register_resolvers

if TYPE_CHECKING:
    from mlrun.config.hydra_internals import JobReturn
    from mlrun.sweep.executors.executor import Executor
    from mlrun.sweep.job import Job
    from mlrun.sweep.server import Work
    from mlrun.sweep.sweep import Sweep

register_resolvers()  # also in the processes of other launchers, which import this module to unpickle their job


def offer_to_other_applications(name: str) -> None:
    """Registers conf/hydra/launcher/NAME.yaml as `hydra/launcher=mlrun_NAME`: the search path of other Hydra applications does not contain our conf/."""
    path = CONF / "hydra" / "launcher" / f"{name}.yaml"
    if path.is_file():
        ConfigStore.instance().store(
            group="hydra/launcher", name=f"mlrun_{name}", node=OmegaConf.load(path), provider="mlrun"
        )


offer_to_other_applications("pool")


class QueueLauncher(Launcher):
    """Queues the jobs in front of an executor.

    Args:
        settings: of the executor and of the queue.
    """

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self.sweep: Sweep | None = None
        self.prepared: dict[int, Job] = {}

    @abstractmethod
    def executor(self, work: Work) -> Executor:
        """What runs the jobs. work: is executed in the process of each job."""

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


class PoolLauncher(QueueLauncher):
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
        settings = {
            "slots": slots, "threads": threads, "jobs_per_gpu": jobs_per_gpu, "timeout": timeout, "fail_fast": fail_fast,
            "preload": list(preload), "resume": resume,
        }  # fmt: skip
        super().__init__(settings)

    def executor(self, work: Work) -> Executor:
        from mlrun.sweep.executors.pool import PoolExecutor

        return PoolExecutor(self.settings, work)
