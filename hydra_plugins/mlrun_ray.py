"""`hydra/launcher=ray`: a queue of jobs over a Ray cluster. The work is in mlrun.sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from hydra_plugins.mlrun_pool import QueueLauncher, offer_to_other_applications

if TYPE_CHECKING:
    from mlrun.sweep.executors.executor import Executor
    from mlrun.sweep.server import Work

offer_to_other_applications("ray")


class RayLauncher(QueueLauncher):
    """Its arguments are the keys of conf/hydra/launcher/ray.yaml."""

    def __init__(
        self,
        address: str | None = None,
        slots: str | int = "auto",
        cpus: str | int = "auto",
        jobs_per_gpu: int = 1,
        resources: Mapping[str, float] | None = None,
        ship: bool = False,
        init: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        fail_fast: bool = False,
        retries: int = 3,
        preload: Sequence[str] = (),
        resume: bool = False,
    ):
        settings = {
            "address": address, "slots": slots, "cpus": cpus, "jobs_per_gpu": jobs_per_gpu, "resources": _plain(resources),
            "ship": ship, "init": _plain(init), "timeout": timeout, "fail_fast": fail_fast, "retries": retries,
            "preload": list(preload), "resume": resume,
        }  # fmt: skip
        super().__init__(settings)

    def executor(self, work: Work) -> Executor:
        from mlrun.sweep.executors.ray import RayExecutor

        return RayExecutor(self.settings, work)


def _plain(node: Mapping[str, Any] | None) -> Any:
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else dict(node or {})
