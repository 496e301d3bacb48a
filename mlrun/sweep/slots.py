"""Slots in which jobs run: shares of GPUs, and of the CPU's cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlrun.errors import ConfigError


@dataclass(frozen=True)
class Slot:
    """Where one job runs; with `trainer.devices=k` it takes k slots."""

    kind: str  # "gpu" or "cpu"
    number: int
    device: str = ""  # name of the GPU in CUDA_VISIBLE_DEVICES
    share: int = 0  # which of the jobs_per_gpu
    host: str = ""  # name of the machine, unless it is this one

    def __str__(self) -> str:
        place = f"{self.kind} {self.number}" + (f"/{self.share}" if self.share else "")
        return f"{self.host} {place}".lstrip()


class Slots:
    """Assigns free slots. A job on several GPUs gets slots of different GPUs."""

    def __init__(self, slots: Sequence[Slot]):
        self.all = list(slots)
        self.free = list(slots)
        self._order = {slot: place for place, slot in enumerate(slots)}

    def count(self, kind: str) -> int:
        """The largest number of slots that one job can have."""
        return len({slot.device or slot.number for slot in self.all if slot.kind == kind})

    def take(self, kind: str, count: int) -> list[Slot] | None:
        """`count` free slots, of the GPUs with the most free shares; None if too few are free."""
        by_place: dict[object, list[Slot]] = {}
        for slot in self.free:
            if slot.kind == kind:
                by_place.setdefault(slot.number, []).append(slot)
        if len(by_place) < count:
            return None
        emptiest = sorted(by_place.values(), key=lambda shares: (-len(shares), shares[0].number))[:count]
        taken = sorted((shares[0] for shares in emptiest), key=lambda slot: slot.number)
        for slot in taken:
            self.free.remove(slot)
        return taken

    def release(self, slots: Sequence[Slot]) -> None:
        self.free = sorted([*self.free, *slots], key=self._order.__getitem__)


def gpu_slots(devices: Sequence[str], jobs_per_gpu: int) -> list[Slot]:
    """The slots of GPUs. The first share of every GPU comes before the second of any."""
    return [
        Slot("gpu", number, device, share) for share in range(jobs_per_gpu) for number, device in enumerate(devices)
    ]


def cpu_slots(count: int) -> list[Slot]:
    return [Slot("cpu", number) for number in range(count)]


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """GPUs as CUDA_VISIBLE_DEVICES names them: the user's list if that is set, else the UUIDs of all. A GPU in MIG mode counts as its instances.

    Asks nvidia-smi and not CUDA, which must not be initialized in a process that forks.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        devices = []
        for device in map(str.strip, given.split(",")):
            if device in ("", "-1"):  # CUDA reads the list up to the first that does not exist
                break
            devices.append(device)
        return devices
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_listing(listing.stdout) if listing.returncode == 0 else []


def parse_listing(text: str) -> list[str]:
    """UUIDs in the output of `nvidia-smi -L`, where MIG instances are indented below their GPU."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        uuid = re.search(r"UUID: ([\w/-]+)", line)
        if uuid is None:
            continue
        if line.lstrip().startswith("MIG") and found:
            found[-1][1].append(uuid.group(1))
        else:
            found.append((uuid.group(1), []))
    return [device for gpu, instances in found for device in (instances or [gpu])]


def usable_cores() -> int:
    """Cores that this process may use, limited by its affinity and by the quota of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota in (_quota_v2(), _quota_v1()):
        if quota:
            cores = min(cores, max(1, int(quota)))
    return cores


def _quota_v2() -> float | None:
    words = _read("/sys/fs/cgroup/cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1() -> float | None:
    quota, period = (_read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Demand:
    """The slots that a job needs."""

    kind: str  # "gpu" or "cpu"
    count: int = 1  # on each machine
    threads: int | None = None  # per slot; None: the job has no preference
    nodes: int = 1  # machines that train together


def demand(cfg: Mapping[str, Any], gpus: int) -> Demand:
    """What a job needs, by its configuration.

    Args:
        gpus: how many GPUs are visible.

    Raises:
        ConfigError: the configuration lists devices; the sweep decides which devices a job gets.
    """
    model, trainer = cfg.get("model"), cfg.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    if isinstance(model, dict) and model.get("_target_") is None and "trainer" in cfg:  # estimators compute on the CPU
        return Demand("cpu")
    devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "auto")
    kind = "gpu" if gpus and accelerator in ("auto", "gpu", "cuda") else "cpu"
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1):
        devices = gpus if kind == "gpu" else 1
    if not isinstance(devices, int):
        raise ConfigError(
            f"trainer.devices={devices}: in a sweep the launcher chooses the devices; set their number, such as trainer.devices=2"
        )
    threads = trainer.get("threads")
    nodes = trainer.get("num_nodes", 1)
    return Demand(kind, devices, threads if isinstance(threads, int) else None, nodes if isinstance(nodes, int) else 1)


def share_out(
    demands: Sequence[Demand], gpus: Sequence[str], slots: int | str, threads: int | str, jobs_per_gpu: int
) -> tuple[Slots, int]:
    """Divides the machine among jobs.

    Args:
        gpus: the visible GPUs.
        slots, threads, jobs_per_gpu: as in conf/hydra/launcher/pool.yaml; "auto" or a number.

    Returns:
        The slots, and the threads per slot.

    Raises:
        ConfigError: a job needs more GPUs than there are, or several machines.
    """
    if (nodes := max((one.nodes for one in demands), default=1)) > 1:
        raise ConfigError(
            f"trainer.num_nodes={nodes}: this launcher has one machine; hydra/launcher=ray can use several"
        )
    cores = usable_cores()
    on_gpu = gpu_slots(gpus, jobs_per_gpu) if any(one.kind == "gpu" for one in demands) else []
    wanted = sum(one.count for one in demands if one.kind == "cpu")
    per_slot = max((one.threads or 1 for one in demands), default=1) if threads == "auto" else int(threads)
    count = max(1, min(cores // per_slot, wanted)) if slots == "auto" else int(slots)
    most = max((one.count for one in demands if one.kind == "cpu"), default=0)
    on_cpu = cpu_slots(max(count, most) if wanted else 0)  # two processes may share a core, but not a GPU
    places = Slots(on_gpu + on_cpu)
    for one in demands:
        if one.count > places.count(one.kind):
            raise ConfigError(f"trainer.devices={one.count}: there are {places.count(one.kind)} GPUs for this sweep")
    return places, max(1, per_slot, cores // max(1, len(places.all))) if threads == "auto" else per_slot
