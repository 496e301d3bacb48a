"""What the parts share: runs through mlrun, timed epoch by epoch, and rows of the report."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import training


@dataclass(frozen=True)
class Place:
    """Where a part is measured.

    Args:
        rehearse: at toy size on the CPU, to see that the part works.
    """

    rehearse: bool

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"

    def overrides(self, *given: str, toy: tuple[str, ...] = ()) -> list[str]:
        """Overrides of a run here: `given`, and when rehearsing the toy sizes and a trainer for the CPU."""
        if not self.rehearse:
            return list(given)
        cpu = ("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1", "model.figures=[]")
        return [word for word in given if not word.startswith("trainer=")] + list(cpu) + list(toy)


@dataclass(frozen=True)
class Measured:
    """One line of the report.

    Args:
        name: what was measured.
        value: with its unit, as text.
        limit: what it must be, as text; empty: reported only.
        holds: whether it is; None without a limit.
        note: how it was measured.
    """

    name: str
    value: str
    limit: str = ""
    holds: bool | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def ratio(name: str, ours: float, peer: float, most: float, note: str = "") -> Measured:
    """Seconds of mlrun over those of a peer, and the most that this may be."""
    return Measured(name, f"{ours / peer:.2f}", f"≤ {most:.2f}", ours / peer <= most, note)


class Clock(training.Clock):
    """Also notes the metrics of every epoch."""

    def __init__(self):
        self.metrics: list[dict[str, float]] = []

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        self.ends.append(time.perf_counter())
        self.metrics.append(dict(metrics))

    @property
    def seconds(self) -> float:
        """The median of the epochs after the first, or the only one."""
        spans = [after - before for before, after in zip(self.ends, self.ends[1:])]
        return statistics.median(spans[1:] or spans)


def through_mlrun(overrides: list[str], directory: str | None = None, **options: Any) -> tuple[Any, Clock]:
    """(result, clock) of a run in this process, in a directory of its own."""
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(directory or folder) / "run"
        return run(compose(overrides), place, overrides, report=training.reporting_to(clock), **options), clock


def synchronized(device: str) -> float:
    """The time when the device has done what was asked of it."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
