"""`hydra/launcher=pool`: a queue of jobs over GPUs and CPU slots. Hydra accepts launchers only from this package; the work is in mlrun.sweep."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher

from mlrun.config.compose import CONF, register_resolvers

register_resolvers()  # also in processes that other launchers start, which import this to unpickle their job

# For other Hydra applications, in whose search path our conf/ is not: `hydra/launcher=mlrun_pool`.
_PATH = CONF / "hydra" / "launcher" / "pool.yaml"
if _PATH.is_file():
    from omegaconf import OmegaConf

    ConfigStore.instance().store(
        group="hydra/launcher", name="mlrun_pool", node=OmegaConf.load(_PATH), provider="mlrun"
    )


class PoolLauncher(Launcher):
    """Its arguments are the keys of conf/hydra/launcher/pool.yaml."""

    def __init__(
        self, slots="auto", threads="auto", jobs_per_gpu=1, timeout=None, fail_fast=False, preload=(), resume=False
    ):
        self.settings = {
            "slots": slots, "threads": threads, "jobs_per_gpu": jobs_per_gpu, "timeout": timeout, "fail_fast": fail_fast,
            "preload": list(preload), "resume": resume,
        }  # fmt: skip
        self.sweep = None
        self.prepared = {}

    def setup(self, *, hydra_context, task_function, config):
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def prepare(self, job_overrides, resume=False):
        """Composes and checks all jobs of all batches."""
        from mlrun.sweep.launcher import prepare

        self.settings["resume"] = self.settings["resume"] or resume
        prepare(self, job_overrides)

    def launch(self, job_overrides, initial_job_idx):
        from mlrun.sweep.launcher import launch

        return launch(self, job_overrides, initial_job_idx)
