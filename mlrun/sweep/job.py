"""One job of a sweep, and why it ended."""

from __future__ import annotations

import pickle
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlrun.config.passwords import masked
from mlrun.sweep.slots import Demand, Slot

if TYPE_CHECKING:
    from omegaconf import DictConfig

WAITING, RUNNING, FINISHED, FAILED, KILLED, PRUNED = "waiting", "running", "finished", "failed", "killed", "pruned"
NO_RESULT: Mapping[str, Any] = MappingProxyType({})
GRACE = 20.0  # seconds that a job has to close its run after it was asked to stop
LOG = "output.log"  # in the job's directory
ENDED = (FINISHED, FAILED, KILLED, PRUNED)
CRASHES: dict[int, str] = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
}


class Configs:
    """The composed configurations of a sweep, in a temporary file: in memory, each would take some hundred kilobytes."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="mlrun_")

    def add(self, config: DictConfig) -> int:
        """Stores a configuration with its node `hydra`. Returns its place in the file."""
        place = self._file.seek(0, 2)
        pickle.dump(config, self._file)
        return place

    def read(self, place: int) -> DictConfig:
        """A copy of the configuration at this place of the file."""
        self._file.seek(place)
        return pickle.load(self._file)


@dataclass(slots=True)
class Job:
    """One job, from its overrides to its result. A sweep may have a hundred thousand: each takes less than a kilobyte."""

    number: int
    overrides: list[str]
    configs: Configs | None  # has its configuration; None in the process of another launcher
    identity: str  # hash of the settings that decide its result
    sweep: Path  # directory of the sweep
    folder: str | None = None  # its own in there; None: its number
    place: int = 0  # of its configuration in `configs`
    demand: Demand = Demand("cpu")
    state: str = WAITING
    earlier: bool = False  # it ended in an earlier attempt of the sweep
    slots: tuple[Slot, ...] = ()
    run_id: str | None = None
    attempts: int = 0
    losses: int = 0  # attempts that ended because their machine was lost
    started: float | None = None  # time.monotonic()
    seconds: float = 0.0
    epoch: int = 0
    total_epochs: int | None = None
    monitor: str = ""
    mode: str = "max"
    watched: float | None = None  # the watched metric's value after the last epoch
    result: Mapping[str, Any] = field(default_factory=lambda: NO_RESULT)  # when the job has ended, the journal has it
    returned: Any = None  # by the user's function
    accepted: bool = True  # False: it violates select.subject_to, and is never the best
    error: Exception | None = None
    reason: str = ""
    stop_reason: tuple[str, str] | None = None  # (state, reason) once it was asked to stop
    kill_at: float | None = None  # time.monotonic(), if it has not stopped by then

    @property
    def config(self) -> DictConfig:
        """A copy of its configuration, composed by Hydra, with the node `hydra`."""
        if self.configs is None:
            raise RuntimeError("the job was composed in another process")
        return self.configs.read(self.place)

    @property
    def directory(self) -> Path:
        return self.sweep / (str(self.number) if self.folder is None else self.folder)

    @property
    def elapsed_since_start(self) -> float:
        """Seconds since it was started; 0 if it was not."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    @property
    def elapsed(self) -> float:
        """Seconds that it has taken so far, or has taken."""
        return self.elapsed_since_start if self.state == RUNNING else self.seconds

    @property
    def measured(self) -> dict[str, float]:
        """The numbers by which a search may select."""
        found = {
            **(self.result.get("metrics") or {}),
            **{name: self.result.get(name) for name in ("predict_ms", "parameters")},
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def objective(self) -> float | None:
        """The value that is compared; None if the user's function returned no number."""
        return self.returned if isinstance(self.returned, (int, float)) else None

    @property
    def rank(self) -> tuple[bool, bool, str, float, int]:
        """Smaller is better, separately for each watched metric. Jobs that violate a limit follow, then those without a value."""
        value = self.objective
        worst = value is None or value != value
        better = 0.0 if value is None or worst else value if self.mode == "min" else -value
        return worst, not self.accepted, self.monitor, better, self.number

    @property
    def log(self) -> Path:
        return self.directory / LOG

    def remaining(self) -> float | None:
        """Seconds until its last epoch, at the speed so far; None if unknown."""
        if self.state != RUNNING or not self.epoch or not self.total_epochs:
            return None
        return max(0.0, self.elapsed / self.epoch * (self.total_epochs - self.epoch))


def node_directory(directory: str, rank: int) -> str:
    """Where the processes of one of several machines write: the first in the job's directory, the others, for their logs, below it."""
    return str(Path(directory, f"node_{rank}")) if rank else directory


def reason_of_death(status: int, memory_kills: int, log: Path) -> tuple[str, str]:
    """(state, reason) of a process that ended without a report.

    Args:
        status: as `os.waitpid` returns it.
        memory_kills: processes that the kernel has killed for lack of memory since the last job ended.
        log: the job's output, whose last line may name the reason.
    """
    code = -(status & 0x7F) if status & 0x7F else status >> 8
    if code >= 0:
        line = _last_line(log)
        return FAILED, f"exit status {code} without a result" + (f": {line}" if line else "")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        if memory_kills:
            return FAILED, "out of memory: killed by the kernel (SIGKILL)"
        return KILLED, "killed by another process (SIGKILL: kill -9, or a memory limit)"
    if -code in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return KILLED, f"killed by another process ({name})"
    return FAILED, f"{CRASHES[-code]} ({name})" if -code in CRASHES else f"ended by {name}"


def reason_of_error(error: BaseException) -> str:
    """One line for an exception."""
    text = masked(" ".join(str(error).split()))
    name = type(error).__name__
    if isinstance(error, MemoryError):
        return f"out of memory: {text or name}"
    if name == "OutOfMemoryError":  # torch's own
        return f"out of memory on the GPU: {text}"
    from mlrun.errors import UserError

    return text if isinstance(error, UserError) else f"{name}: {text}" if text else name


def memory_kills() -> int:
    """How many processes of this memory cgroup (version 2, else 1) the kernel has killed for lack of memory."""
    paths = []
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                paths += [f"/sys/fs/cgroup{path}/memory.events", "/sys/fs/cgroup/memory.events"]
            elif "memory" in controllers.split(","):
                paths += [f"/sys/fs/cgroup/memory{path}/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
    except OSError:
        return 0
    for path in paths:
        try:
            for line in Path(path).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        except OSError:
            continue
    return 0


def _last_line(path: Path) -> str:
    try:
        lines = path.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip()[:200] if lines else ""
