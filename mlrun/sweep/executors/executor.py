"""What the queue of a sweep needs of the place where its jobs run: this machine, or a Ray cluster.

Journal, display, search and MLflow record know jobs and their states only; an executor knows processes and machines only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlrun.sweep.job import Job
from mlrun.sweep.slots import Demand

if TYPE_CHECKING:
    from mlrun.sweep.server import Request

# (kind, job number, payload). Kinds and payloads:
#   run (MLflow run id), training, epoch, result, finished, failed, interrupted, pruned: see `mlrun.sweep.worker`
#   exited: (state, reason) of a process that has ended; it counts if the process had reported no end of its job
#   lost: why the machine of the job is gone; the job has not failed, and can start again elsewhere
Report = tuple[str, int, Any]


class Executor(Protocol):
    """Starts the processes of jobs, and reports what becomes of them."""

    @property
    def ahead(self) -> int:
        """Jobs for which a process is prepared at most, before there is a place for them."""

    @property
    def gpus(self) -> int:
        """The most GPUs that a job can have on one machine."""

    @property
    def others(self) -> Sequence[str]:
        """Names of the machines on which jobs may run, besides this one."""

    def check(self, demands: Sequence[Demand], total: int | None) -> None:
        """Decides where jobs with these demands run. Called before anything is recorded.

        Args:
            demands: of the jobs or, in a search, of samples of them.
            total: number of jobs; None if that is not known.

        Raises:
            UserError: a job needs more than there is, or the settings cannot work.
        """

    def open(self, directory: Path) -> None:
        """Connects to the machines. Called after `check`, once the recorder of the sweep runs. May be called again.

        Args:
            directory: of the sweep.

        Raises:
            UserError: that is impossible.
        """

    @property
    def places(self) -> str:
        """Where jobs run, in words: `2 cpu slots`."""

    def preload(self, modules: Sequence[str]) -> None:
        """Imports modules once for all jobs. There is no room for a job until that is done."""

    @property
    def has_room(self) -> bool:
        """Whether the next job may find a place now."""

    @property
    def hint(self) -> str:
        """What jobs wait for, in words; empty if there is nothing to say."""

    def place(self, job: Job) -> bool:
        """Reserves a place for a job, and names it in `job.slots`. Returns False as long as there is none."""

    def release(self, job: Job) -> None:
        """The job has ended; others may have its place."""

    def prepare(self, job: Job, request: Callable[[], Request]) -> None:
        """Does what can be done before there is a place for the job. May be called again."""

    def start(self, job: Job, request: Callable[[], Request]) -> None:
        """Runs a job in the place that it has. request: makes what its process needs to know."""

    def threads(self, demand: Demand) -> int:
        """Threads for a job's own process."""

    def signal(self, number: int, signum: int) -> None:
        """Sends a signal to all processes of a running job."""

    def receive(self, seconds: float) -> list[Report]:
        """The reports since the last call. Waits up to `seconds` for the first one. Raises EOFError if no further one can come."""

    def close(self) -> None:
        """Ends all processes; safe to call twice."""
