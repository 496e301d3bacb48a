"""The places of jobs on a Ray cluster: what a job holds on one machine or on several, and which of its processes still run."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.sweep.executors.cluster import Shape
from mlrun.sweep.executors.executor import Report
from mlrun.sweep.executors.node import Holder
from mlrun.sweep.job import FAILED, GRACE, LOG, Job, node_directory
from mlrun.sweep.slots import Slot

if TYPE_CHECKING:
    from ray import ObjectRef

FAULT_SECONDS = (
    15.0  # in which a training notices that a process on another machine has failed; then it is asked to end
)
ENDS = ("finished", "failed", "interrupted", "pruned")  # kinds of reports with which a job's process ends


@dataclass(eq=False)
class Host:
    """A machine, as the driver knows it."""

    actor: Any  # `NodeActor`
    key: str  # Ray's id of the node
    name: str
    received: int = 0  # number of its last report
    importing: int = 0
    accepted: bool = False  # it can run jobs of this sweep
    shares_files: bool = True  # it sees the driver's directory of the sweep


@dataclass(eq=False)
class Part:
    """What a job has of one machine."""

    actor: Any  # `Holder`
    host: Host | None = None  # None: Ray has not found room yet
    address: str = ""  # of the machine, for the other ones
    port: int = 0  # where the processes of a training meet, if this is the first machine
    slots: tuple[Slot, ...] = ()


@dataclass(eq=False)
class Seat:
    """A place for one job at a time, until the sweep gives it back to the cluster. The process on the first machine records the run."""

    shape: Shape
    parts: list[Part]
    group: Any = None  # Ray's placement group of several parts
    job: Job | None = None
    running: set[Host] = field(default_factory=set)  # where a process of the job runs
    is_spent: bool = False  # a part of it is gone: no further job gets it
    lost: str = ""  # why its job must start again elsewhere; what is left of it is being killed
    told: set[Host] = field(default_factory=set)  # machines, besides the first, whose process has said how it ends
    fault: str = ""  # how one of them has failed
    due: float | None = None  # when the job is asked to end for that, or is killed; None: never
    is_stopped: bool = False  # it was asked
    end: list[Report] = field(default_factory=list)  # the job's, until no process of it is left

    @property
    def first(self) -> Host | None:
        return self.parts[0].host

    @property
    def hosts(self) -> list[Host]:
        return [part.host for part in self.parts if part.host is not None]

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for part in self.parts for slot in part.slots)

    @property
    def is_ready(self) -> bool:
        hosts = self.hosts
        return (
            len(hosts) == len(self.parts)
            and not self.is_spent
            and all(host.accepted and not host.importing for host in hosts)
        )

    @property
    def shares_files(self) -> bool:
        return all(host.shares_files for host in self.hosts)

    def occupy(self, job: Job) -> None:
        self.job, job.slots = job, self.slots
        self.running, self.told, self.end = set(), set(), []
        self.lost, self.fault, self.due, self.is_stopped = "", "", None, False

    def signal(self, signum: int) -> None:
        """Sends a signal to all processes of the job."""
        for host in self.running if self.job is not None else ():
            host.actor.signal.remote(self.job.number, signum)

    def report(self, host: Host, kind: str, payload: Any) -> list[Report]:
        """What the queue has to know of a report from a machine about the job here."""
        if self.job is None or host not in self.running:  # of an attempt that was lost
            return []
        if kind == "exited":
            return self._exited(host, payload)
        if kind == "log":  # the machine does not share the sweep's directory
            directory = Path(node_directory(str(self.job.directory), self.hosts.index(host)))
            directory.mkdir(parents=True, exist_ok=True)
            (directory / LOG).write_bytes(payload)
            return []
        if host is not self.first:
            if kind in ENDS:
                self.told.add(host)
            if kind == "failed":
                self._blame(host, payload)
            return []
        if kind in ENDS and len(self.parts) > 1:  # the job ends with its last process
            self.end.append((kind, self.job.number, payload))
            return []
        return [(kind, self.job.number, payload)]

    def _exited(self, host: Host, payload: tuple[str, str]) -> list[Report]:
        """A process of the job has ended. The others end before the first one, or are killed."""
        self.running.discard(host)
        if host is self.first:
            self.end.append(("exited", self.job.number, payload))
            self.signal(signal.SIGKILL)
        elif host not in self.told:
            self._blame(host, payload[1])
        return self.ended()

    def _blame(self, host: Host, reason: str) -> None:
        """A process on another machine than the first has failed, before the first one did."""
        if not self.end:
            self.fault, self.due = f"on {host.name}: {reason}", time.monotonic() + FAULT_SECONDS

    def end_waiting(self, now: float) -> None:
        """Ends a training that waits for a process which has failed: asks it first, so that it can close its run."""
        if self.due is not None and now > self.due and not self.end:
            self.signal(signal.SIGKILL if self.is_stopped else signal.SIGINT)
            self.is_stopped, self.due = True, now + GRACE

    def lose(self, host: Host, why: str, is_gone: bool) -> list[Report]:
        """A part is gone. A job that still needs it must start again elsewhere, and what is left of it is killed.

        Args:
            is_gone: whether the whole machine is, and its process with it.
        """
        self.is_spent = True
        if host not in self.running:
            return []
        self.lost = why
        if is_gone:
            self.running.discard(host)
        self.signal(signal.SIGKILL)
        return self.ended()

    def ended(self) -> list[Report]:
        """The last reports of the job, once all its processes are gone."""
        if self.running or self.job is None:
            return []
        number, (found, self.end) = self.job.number, (self.end, [])
        kinds = {kind for kind, _, _ in found}
        if self.lost and "finished" not in kinds:  # a failure that was reported before may be a consequence
            return [("lost", number, self.lost)]
        if self.is_stopped and "finished" not in kinds:
            found = [("failed", number, self.fault), *(report for report in found if report[0] == "exited")]
        elif self.fault:
            found = [(kind, number, self._blamed(kind, payload)) for kind, number, payload in found]
        return found if "exited" in kinds else [*found, ("exited", number, (FAILED, self.lost))]

    def _blamed(self, kind: str, payload: Any) -> Any:
        """The reason of a failure, with what has happened on the other machine: the first process only sees that its connection broke."""
        if kind == "failed" and not self.fault.endswith(f": {payload}"):
            return f"{payload} ({self.fault})"
        if kind == "exited":
            state, reason = payload
            return state, f"{reason} ({self.fault})"
        return payload


def reserve(shape: Shape) -> tuple[Seat, list[ObjectRef]]:
    """Asks Ray for a place. Returns it, and for each of its parts the answer that will say where it is."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    others = dict(shape.others)
    options = {"num_cpus": shape.cpus, "num_gpus": shape.gpus, "resources": others or None, "max_restarts": 0}
    group, strategies = None, ["SPREAD"]
    if shape.nodes > 1:
        group = placement_group([shape.resources] * shape.nodes, strategy="STRICT_SPREAD")
        strategies = [PlacementGroupSchedulingStrategy(group, index) for index in range(shape.nodes)]
    kind = ray.remote(Holder)
    actors = [kind.options(**options, scheduling_strategy=strategy).remote() for strategy in strategies]
    return Seat(shape, [Part(actor) for actor in actors], group), [actor.place.remote() for actor in actors]


def give_back(seat: Seat) -> None:
    """Returns a place to the cluster."""
    import ray
    from ray.util.placement_group import remove_placement_group

    for part in seat.parts:
        ray.kill(part.actor)
    if seat.group is not None:
        remove_placement_group(seat.group)
