"""`hydra/launcher=pool`: jobs on the GPUs and CPU slots of this machine, forked from a warm server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlrun.sweep.executors.executor import Report
from mlrun.sweep.executors.processes import Processes
from mlrun.sweep.job import Job
from mlrun.sweep.server import Request, Work, fork_server
from mlrun.sweep.slots import Demand, Slots, share_out, visible_gpus

AHEAD = 4  # processes prepared at most for slots that will become free; each costs some memory


class PoolExecutor:
    """An `Executor` for one machine.

    Args:
        settings: conf/hydra/launcher/pool.yaml.
        work: runs in the process of each job, see `Server`.
    """

    slots: Slots  # made by `check`

    def __init__(self, settings: dict[str, Any], work: Work):
        self.settings = settings
        self.devices = visible_gpus()
        self.processes = Processes(fork_server(work))

    @property
    def gpus(self) -> int:
        return len(self.devices)

    @property
    def others(self) -> Sequence[str]:
        return ()

    @property
    def ahead(self) -> int:
        return min(AHEAD, len(self.slots.all))

    def check(self, demands: Sequence[Demand], total: int | None) -> None:
        names = ("slots", "threads", "jobs_per_gpu")
        self.slots, self._threads = share_out(demands, self.devices, *(self.settings[name] for name in names))

    def open(self, directory: Path) -> None:
        """There is nothing to connect to."""

    @property
    def places(self) -> str:
        kinds = sorted({slot.kind for slot in self.slots.all})
        return ", ".join(f"{sum(slot.kind == kind for slot in self.slots.all)} {kind} slots" for kind in kinds)

    def preload(self, modules: Sequence[str]) -> None:
        self.processes.preload(modules)

    @property
    def has_room(self) -> bool:
        return not self.processes.importing and bool(self.slots.free)

    @property
    def hint(self) -> str:
        return ""

    def place(self, job: Job) -> bool:
        taken = self.slots.take(job.demand.kind, job.demand.count)
        job.slots = tuple(taken or ())
        return taken is not None

    def release(self, job: Job) -> None:
        self.slots.release(job.slots)

    def prepare(self, job: Job, request: Callable[[], Request]) -> None:
        self.processes.prepare(job.number, request)

    def start(self, job: Job, request: Callable[[], Request]) -> None:
        self.processes.start(job.number, request, self._environment(job))

    def threads(self, demand: Demand) -> int:
        return self._threads * (demand.count if demand.kind == "gpu" else 1)

    def _environment(self, job: Job) -> dict[str, str]:
        """The variables that select a job's devices."""
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(slot.device for slot in job.slots if slot.device)}
        if not self.devices and "CUDA_VISIBLE_DEVICES" not in os.environ:
            environment = {}
        return {**environment, "MLRUN_SLOTS": ",".join(map(str, job.slots))}

    def signal(self, number: int, signum: int) -> None:
        self.processes.signal(number, signum)

    def receive(self, seconds: float) -> list[Report]:
        return self.processes.receive(seconds)

    def close(self) -> None:
        self.processes.close()
