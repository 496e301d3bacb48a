"""Places where jobs run: shares of GPUs, and of the CPU's cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from mlrun.errors import ConfigError


@dataclass(frozen=True)
class Slot:
    """One job's place (or, with `trainer.devices=k`, one of its k). `device` is what CUDA_VISIBLE_DEVICES calls the GPU."""

    kind: str  # "gpu" or "cpu"
    number: int
    device: str = ""
    share: int = 0  # which of the jobs_per_gpu

    def __str__(self) -> str:
        return f"{self.kind} {self.number}" + (f"/{self.share}" if self.share else "")


class Slots:
    """Gives out free slots. A job on several GPUs gets different ones."""

    def __init__(self, slots: list[Slot]):
        self.all = list(slots)
        self.free = list(slots)

    def count(self, kind: str) -> int:
        """The largest number of slots that one job can have."""
        return len({slot.device or slot.number for slot in self.all if slot.kind == kind})

    def take(self, kind: str, count: int) -> list[Slot] | None:
        """`count` free slots, of GPUs that have most to spare; None if there are too few now."""
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

    def give_back(self, slots: list[Slot]) -> None:
        self.free = sorted(self.free + slots, key=self.all.index)


def gpu_slots(devices: list[str], jobs_per_gpu: int) -> list[Slot]:
    return [
        Slot("gpu", number, device, share) for share in range(jobs_per_gpu) for number, device in enumerate(devices)
    ]


def cpu_slots(count: int) -> list[Slot]:
    return [Slot("cpu", number) for number in range(count)]


def visible_gpus(environment=os.environ) -> list[str]:
    """GPUs as CUDA_VISIBLE_DEVICES names them: the user's own list if set, else all, by UUID; of a GPU in MIG mode its instances.

    Asks nvidia-smi, never CUDA, which a process that forks must not touch.
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
    """UUIDs in the output of `nvidia-smi -L`, whose MIG instances are indented below their GPU."""
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
    """Cores that this process may use: its affinity, and the share that a container's cgroup grants."""
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
    """What a job needs: `count` slots of a kind; `threads` it asks for itself, if it does."""

    kind: str
    count: int = 1
    threads: int | None = None


def demand(cfg: dict, gpus: int) -> Demand:
    """Read off a job's configuration. Raises ConfigError for a list of devices: which ones a job gets is decided here."""
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
            f"trainer.devices={devices}: in a sweep the launcher chooses the devices, say how many: trainer.devices=2"
        )
    threads = trainer.get("threads")
    return Demand(kind, devices, threads if isinstance(threads, int) else None)


def share_out(
    demands: list[Demand], gpus: list[str], slots: int | str, threads: int | str, jobs_per_gpu: int
) -> tuple[Slots, int]:
    """(slots, threads per slot) for jobs with these demands. Raises ConfigError if one asks for more GPUs than there are.

    slots, threads: as in conf/hydra/launcher/pool.yaml.
    """
    cores = usable_cores()
    on_gpu = gpu_slots(gpus, jobs_per_gpu) if any(one.kind == "gpu" for one in demands) else []
    wanted = sum(one.count for one in demands if one.kind == "cpu")
    per_slot = threads if threads != "auto" else max((one.threads or 1 for one in demands), default=1)
    if slots == "auto":
        slots = max(1, min(cores // per_slot, wanted))
    most = max((one.count for one in demands if one.kind == "cpu"), default=0)
    on_cpu = cpu_slots(max(slots, most) if wanted else 0)  # two processes may share a core, but not a GPU
    places = Slots(on_gpu + on_cpu)
    for one in demands:
        if one.count > places.count(one.kind):
            raise ConfigError(f"trainer.devices={one.count}: there are {places.count(one.kind)} GPUs for this sweep")
    if threads == "auto":
        threads = max(1, per_slot, cores // max(1, len(places.all)))
    return places, threads
