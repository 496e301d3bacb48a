"""What a Ray cluster has, and what a job asks of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

from mlrun.errors import UserError
from mlrun.sweep.slots import Demand, usable_cores, visible_gpus

OBJECT_STORE = 128 * 2**20  # bytes; nothing large is passed between jobs


@dataclass(frozen=True)
class Shape:
    """What a job reserves on one machine, or on each of several."""

    cpus: float
    gpus: float = 0.0
    others: tuple[tuple[str, float], ...] = ()
    nodes: int = 1

    @property
    def resources(self) -> dict[str, float]:
        """What it needs of each machine, by Ray's names."""
        needs = {"CPU": self.cpus, "GPU": self.gpus, **dict(self.others)}
        return {name: amount for name, amount in needs.items() if amount}

    def __str__(self) -> str:
        names = {"CPU": "CPU" if self.cpus == 1 else "CPUs", "GPU": "GPU" if self.gpus == 1 else "GPUs"}
        parts = [f"{amount:g} {names.get(name, name)}" for name, amount in self.resources.items()]
        return f"{', '.join(parts)} on {'one machine' if self.nodes == 1 else f'each of {self.nodes} machines'}"


@dataclass(frozen=True)
class Survey:
    """The machines of a cluster: the resources and the name of each."""

    nodes: tuple[Mapping[str, float], ...]
    hosts: tuple[str, ...]

    @property
    def gpus(self) -> int:
        return int(sum(node.get("GPU", 0) for node in self.nodes))

    @property
    def gpus_of_one(self) -> int:
        """The most GPUs that a machine has."""
        return int(max((node.get("GPU", 0) for node in self.nodes), default=0))

    def __str__(self) -> str:
        cpus = sum(node.get("CPU", 0) for node in self.nodes)
        machines = f"{len(self.nodes)} machine{'s' * (len(self.nodes) != 1)}"
        return f"{machines} with {cpus:g} CPUs" + (f" and {self.gpus} GPUs" if self.gpus else "")


def shape_of(demand: Demand, settings: Mapping[str, Any]) -> Shape:
    """What a job with this demand reserves. settings: conf/hydra/launcher/ray.yaml."""
    each = demand.threads or 1 if settings["cpus"] == "auto" else int(settings["cpus"])
    gpus = 0.0
    if demand.kind == "gpu":
        gpus = float(demand.count) if demand.count > 1 else 1 / settings["jobs_per_gpu"]
    return Shape(each * demand.count, gpus, tuple(sorted(settings["resources"].items())), demand.nodes)


def capacity(shape: Shape, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many jobs of this shape the machines can run at once."""
    needs = shape.resources.items()
    fitting = [min(int(node.get(name, 0) / amount + 1e-9) for name, amount in needs) for node in nodes]
    jobs = sum(fitting) // shape.nodes
    while jobs and sum(min(fits, jobs) for fits in fitting) < jobs * shape.nodes:  # a job has one part on a machine
        jobs -= 1
    return jobs


def survey(settings: Mapping[str, Any]) -> Survey:
    """What the cluster has; of a Ray that this command will start, what it will have.

    Raises:
        UserError: ray is not installed, or there is no cluster at the address.
    """
    if find_spec("ray") is None:
        raise UserError("hydra/launcher=ray needs Ray: pip install 'mlrun[ray]'")
    if settings["address"] is None:
        init = local_resources(settings)
        node = {"CPU": init["num_cpus"], "GPU": init["num_gpus"], **init.get("resources", {})}
        return Survey((node,), (socket.gethostname(),))
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_ask, args=(settings, theirs))
    child.start()
    theirs.close()
    try:
        found, error = ours.recv()
    except EOFError:
        found, error = None, "the process that asked it ended early"
    finally:
        child.join()
    if error:
        needs_token = str(settings["address"]).startswith("ray://") and "RAY_AUTH_MODE" not in os.environ
        hint = (
            ". If the cluster requires a token, copy its ~/.ray/auth_token to this machine and set RAY_AUTH_MODE=token"
        )
        raise UserError(f"hydra.launcher.address={settings['address']}: {error}{hint if needs_token else ''}")
    return found


def _ask(settings: Mapping[str, Any], answer: Connection) -> None:
    """In the other process: sends (survey, None), or (None, why there is none)."""
    import ray

    try:
        connect(settings, {})
        alive = [node for node in ray.nodes() if node["Alive"]]
        resources = tuple(dict(node["Resources"]) for node in alive)
        answer.send((Survey(resources, tuple(node["NodeManagerHostname"] for node in alive)), None))
        ray.shutdown()
    except Exception as error:
        lines = str(error).strip().splitlines()
        answer.send((None, lines[0] if lines else type(error).__name__))


def local_resources(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `ray.init` for a Ray on this machine: `slots` may be more than there are cores."""
    slots, cpus = settings["slots"], settings["cpus"]
    wanted = int(slots) * (1 if cpus == "auto" else int(cpus)) if slots != "auto" else 0
    own = {
        "num_cpus": max(usable_cores(), wanted),
        "num_gpus": len(visible_gpus()),
        "object_store_memory": OBJECT_STORE,
    }
    return {**own, **settings["init"]}


def connect(settings: Mapping[str, Any], runtime: dict[str, Any]) -> None:
    """Connects this process to the cluster, or starts Ray on this machine.

    Args:
        runtime: the runtime environment of the sweep's processes.

    Raises:
        Exception: Ray's, if that fails.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray prints a warning about it
    import ray

    given = {key: value for key, value in settings["init"].items() if key != "runtime_env"}
    if settings["address"] is None:
        given = {key: value for key, value in local_resources(settings).items() if key != "runtime_env"}
        given |= {"include_dashboard": False}
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would starve jobs beside any other work
    before = signal.getsignal(signal.SIGTERM)  # Ray sets its own
    ray.init(
        settings["address"] or "local",
        log_to_driver=False,
        configure_logging=False,
        runtime_env=runtime or None,
        **given,
    )
    signal.signal(signal.SIGTERM, before)
