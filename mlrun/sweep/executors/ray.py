"""`hydra/launcher=ray`: jobs on the machines of a Ray cluster. Ray decides where there is room; `NodeActor` runs the jobs of a machine."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config.hydra_internals import version_base
from mlrun.errors import ConfigError, UserError
from mlrun.sweep import job as states
from mlrun.sweep.executors.cluster import Shape, Survey, capacity, connect, shape_of, survey
from mlrun.sweep.executors.executor import Report
from mlrun.sweep.executors.node import Setting
from mlrun.sweep.executors.seats import Host, Part, Seat, give_back, reserve
from mlrun.sweep.job import Job, node_directory
from mlrun.sweep.journal import SWEEP
from mlrun.sweep.server import Request, Work
from mlrun.sweep.slots import Demand, Slot

if TYPE_CHECKING:
    from ray import ObjectRef

ANSWER_SECONDS = 10.0  # after which a machine answers that it has nothing to report
SURVEY_SECONDS = 15.0  # between two looks at what the cluster has room for
FAULT_SECONDS = (
    15.0  # in which a training notices that a process on another machine has failed; then it is asked to end
)
PASSED_ON = (
    "MLFLOW_",
)  # beginnings of the environment variables that jobs have from the driver, besides hydra.job.env_copy
FOREIGN = (
    "outputs",
    "multirun",
    "mlruns",
    "mlartifacts",
    "mlflow.db*",
    ".git",
    "__pycache__",
    "*.ckpt",
)  # not copied by `ship`


class RayExecutor:
    """An `Executor` for a cluster.

    Args:
        settings: conf/hydra/launcher/ray.yaml.
        work: runs in the process of each job, see `Server`.

    Raises:
        UserError: ray is not installed.
    """

    ahead = 0

    def __init__(self, settings: dict[str, Any], work: Work):
        self.settings, self.work = settings, work
        self.modules: list[str] = []
        self._survey: Survey | None = None
        self._left: int | None = None  # jobs that have not ended; None: unknown
        self._wanted: Shape | None = None  # of the places that are requested next
        self._seats: list[Seat] = []
        self._hosts: dict[str, Host] = {}
        self._answers: dict[ObjectRef, Callable[[ObjectRef], list[Report]]] = {}  # awaited -> what to do with it
        self._room, self._looked = 0, 0.0  # jobs that fit, and when that was asked
        self._open = False

    # --- before the start ------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> Survey:
        """What the cluster has, asked in another process: this one must be able to fork the recorder first."""
        if self._survey is None:
            self._survey = survey(self.settings)
        return self._survey

    @property
    def gpus(self) -> int:
        return self.cluster.gpus_of_one

    @property
    def others(self) -> list[str]:
        return sorted(set(self.cluster.hosts) - {socket.gethostname()})

    def check(self, demands: Sequence[Demand], total: int | None) -> None:
        shapes = Counter(shape_of(demand, self.settings) for demand in demands)
        for shape in shapes:
            if not capacity(shape, self.cluster.nodes):
                raise ConfigError(f"a job needs {shape}, which {self.cluster} cannot offer")
        self._wanted = shapes.most_common(1)[0][0] if shapes else None
        self._left = total

    def open(self, directory: Path) -> None:
        import cloudpickle

        if self._open:
            return
        from mlrun.tracking.store import tracking_uri

        runtime = dict(self.settings["init"].get("runtime_env") or {})
        if self.settings["ship"]:
            runtime |= {"working_dir": os.getcwd(), "excludes": [*FOREIGN, *runtime.get("excludes", ())]}
        if os.environ.get("PYTHONPATH"):
            runtime["env_vars"] = {"PYTHONPATH": os.environ["PYTHONPATH"], **runtime.get("env_vars", {})}
        connect(self.settings, runtime)
        self._open = True
        given = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
        environment = {**given, "MLFLOW_TRACKING_URI": tracking_uri()}
        code, shared = cloudpickle.dumps(self.work), str(directory / SWEEP)
        place = None if self.settings["ship"] else os.getcwd()
        self._setting = Setting(code, version_base(), place, shared, environment)
        self._look()

    @property
    def places(self) -> str:
        return f"Ray, {self.cluster}"

    def preload(self, modules: Sequence[str]) -> None:
        new = [module for module in modules if module not in self.modules]
        self.modules += new
        for host in self._hosts.values():
            self._import(host, new)

    def threads(self, demand: Demand) -> int:
        cpus = shape_of(demand, self.settings).cpus
        return int(cpus) if demand.kind == "gpu" else max(1, int(cpus) // demand.count)

    # --- places ----------------------------------------------------------------------------------------------------

    @property
    def _idle(self) -> list[Seat]:
        return [seat for seat in self._seats if seat.is_ready and seat.job is None]

    @property
    def has_room(self) -> bool:
        return bool(self._idle)

    @property
    def hint(self) -> str:
        if any(seat.is_ready for seat in self._seats):
            return ""
        if importing := [host.name for host in self._hosts.values() if host.importing]:
            return f"importing what the jobs need on {', '.join(importing[:3])}"
        return "waiting for room in the Ray cluster"

    def place(self, job: Job) -> bool:
        wanted, idle = shape_of(job.demand, self.settings), self._idle
        if wanted != self._wanted:
            self._wanted, self._looked = wanted, -SURVEY_SECONDS
        for seat in idle:
            if seat.shape == wanted:
                seat.occupy(job)
                return True
        for seat in idle:  # they may occupy what this job needs
            self._dismiss(seat)
        return False

    def release(self, job: Job) -> None:
        if self._left is not None and job.state != states.RUNNING:
            self._left -= 1
        seat = self._seat_of(job.number)
        if seat is not None:
            seat.job = None
            if seat.is_spent:
                self._dismiss(seat)

    def _fill(self) -> None:
        """Requests places while there may be room for them, and gives back those that no job needs any more."""
        if self._wanted is None:
            return
        if time.monotonic() - self._looked > SURVEY_SECONDS:
            self._look()
        limit = self._room if self.settings["slots"] == "auto" else int(self.settings["slots"])
        limit = max(1, limit) if self._left is None else min(max(1, limit), self._left)
        for _ in range(limit - len(self._seats)):
            self._request(self._wanted)
        for seat in self._idle[: max(0, len(self._seats) - limit)]:
            self._dismiss(seat)

    def _look(self) -> None:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._room = capacity(self._wanted, nodes) if self._wanted else 0
        self._looked = time.monotonic()

    def _request(self, shape: Shape) -> None:
        seat, answers = reserve(shape)
        self._seats.append(seat)
        for part, answer in zip(seat.parts, answers):
            self._answers[answer] = partial(self._placed, seat, part)

    def _placed(self, seat: Seat, part: Part, answer: ObjectRef) -> list[Report]:
        """Ray has found room for a part of a seat."""
        import ray

        try:
            key, name, address, port, devices = ray.get(answer)
        except ray.exceptions.RayError as error:
            if seat not in self._seats:  # this executor has given it back
                return []
            if not isinstance(error, ray.exceptions.RayActorError) or getattr(error, "actor_init_failed", False):
                raise UserError(f"the Ray cluster cannot start jobs: {_last_line(error)}") from None
            self._dismiss(seat)  # its machine was lost
            return []
        if seat not in self._seats:
            return []
        self._answers[part.actor.hold.remote()] = partial(self._taken, seat, part)
        part.host, part.address, part.port = self._hosts.get(key) or self._join(key, name), address, port
        taken = {slot.number for other in self._parts if other.host is part.host for slot in other.slots}
        free = next(number for number in range(len(taken) + 1) if number not in taken)
        part.slots = tuple(
            Slot("gpu", int(device) if device.isdigit() else at, device, 0, name) for at, device in enumerate(devices)
        )
        part.slots = part.slots or (Slot("cpu", free, "", 0, name),)
        return []

    @property
    def _parts(self) -> list[Part]:
        return [part for seat in self._seats for part in seat.parts]

    def _taken(self, seat: Seat, part: Part, answer: ObjectRef) -> list[Report]:
        """The process that holds a part of a seat has ended: Ray may give its place to others."""
        if seat not in self._seats or seat.lost:  # this executor has asked for it, or knows it
            return []
        return self._lose(seat, part.host, f"its slot on {part.host.name} was lost", is_gone=False)

    def _lose(self, seat: Seat, host: Host, why: str, is_gone: bool) -> list[Report]:
        found = seat.lose(host, why, is_gone)
        if seat.job is None:
            self._dismiss(seat)
        return found

    def _dismiss(self, seat: Seat) -> None:
        """Gives a place back to the cluster."""
        self._seats.remove(seat)
        give_back(seat)

    # --- machines --------------------------------------------------------------------------------------------------

    def _join(self, key: str, name: str) -> Host:
        """Starts the warm server of a machine."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from mlrun.sweep.executors.node_actor import REPORTS, NodeActor

        kind = ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={REPORTS: 1})(NodeActor)
        where = NodeAffinitySchedulingStrategy(key, soft=False)
        host = Host(kind.options(scheduling_strategy=where).remote(self._setting), key, name)
        self._hosts[key] = host
        self._answers[host.actor.introduce.remote(version("mlrun"))] = partial(self._joined, host)
        self._import(host, self.modules)
        self._ask(host)
        return host

    def _joined(self, host: Host, answer: ObjectRef) -> list[Report]:
        import ray

        try:
            problem, host.shares_files = ray.get(answer)
        except ray.exceptions.RayError as error:
            return self._leave(host, _last_line(error))
        if problem:
            raise UserError(problem)
        host.accepted = True
        return []

    def _import(self, host: Host, modules: Sequence[str]) -> None:
        host.importing += 1
        host.actor.preload.remote(list(modules))

    def _ask(self, host: Host) -> None:
        asked = host.actor.reports.remote(host.received, ANSWER_SECONDS)
        self._answers[asked] = partial(self._answered, host)

    def _answered(self, host: Host, answer: ObjectRef) -> list[Report]:
        import ray

        try:
            host.received, reports = ray.get(answer)
        except ray.exceptions.ActorUnavailableError:  # the network: what it reported comes again
            time.sleep(0.1)
            self._ask(host)
            return []
        except (ray.exceptions.RayError, EOFError) as error:
            return self._leave(host, "" if isinstance(error, ray.exceptions.RayActorError) else _last_line(error))
        if self._hosts.get(host.key) is not host:
            return []
        self._ask(host)
        return [kept for report in reports for kept in self._understood(host, *report)]

    def _understood(self, host: Host, kind: str, number: int, payload: Any) -> list[Report]:
        """The report for the queue; none if it concerns this executor alone."""
        if kind == "ready":
            host.importing -= 1
            return []
        seat = self._seat_of(number)
        return seat.report(host, kind, payload) if seat is not None else []

    def _leave(self, host: Host, why: str) -> list[Report]:
        """A machine is gone, or its server is: its jobs must start again elsewhere."""
        if self._hosts.get(host.key) is not host:
            return []
        del self._hosts[host.key]
        lost = []
        for seat in [seat for seat in self._seats if host in seat.hosts]:
            reason = f"its machine {host.name} was lost" + (f" ({why})" if why else "")
            lost += self._lose(seat, host, reason, is_gone=True)
        import ray

        ray.kill(host.actor)
        return lost

    # --- jobs ------------------------------------------------------------------------------------------------------

    def prepare(self, job: Job, request: Callable[[], Request]) -> None:
        """Nothing: a job is forked within a tenth of a second when it has its place."""

    def start(self, job: Job, request: Callable[[], Request]) -> None:
        seat = self._seat_of(job.number)
        if seat is None or seat.first is None:
            raise RuntimeError(f"job {job.number} has no slot")
        made, together = request(), {}
        if len(seat.parts) > 1:
            made = replace(made, shares_files=seat.shares_files)
            together = {"MASTER_ADDR": seat.parts[0].address, "MASTER_PORT": str(seat.parts[0].port)}
        for rank, part in enumerate(seat.parts):
            host, environment = part.host, {"MLRUN_SLOTS": ",".join(map(str, part.slots))}
            if self.cluster.gpus:
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(slot.device for slot in part.slots if slot.device)
            if together:
                environment |= {**together, "NODE_RANK": str(rank)}
            seat.running.add(host)
            host.actor.start.remote(
                replace(made, rank=rank, directory=node_directory(made.directory, rank)), environment
            )

    def _seat_of(self, number: int) -> Seat | None:
        return next((seat for seat in self._seats if seat.job and seat.job.number == number), None)

    def signal(self, number: int, signum: int) -> None:
        seat = self._seat_of(number)
        if seat is not None:
            seat.signal(signum)

    def receive(self, seconds: float) -> list[Report]:
        import ray

        self._fill()
        if not self._answers:
            time.sleep(seconds)
            return []
        found: list[Report] = []
        ready, _ = ray.wait(list(self._answers), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = ray.wait(list(self._answers), num_returns=len(self._answers), timeout=0)
        for answer in ready:
            found += self._answers.pop(answer)(answer)
        for seat in self._seats:
            seat.end_waiting(time.monotonic())
        return found

    def close(self) -> None:
        if not self._open:
            return
        import ray

        self._open = False
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # it would say that the actors were killed
        for host in self._hosts.values():
            with suppress(Exception):
                ray.kill(host.actor)
        for seat in self._seats:
            with suppress(Exception):
                give_back(seat)
        ray.shutdown()


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
