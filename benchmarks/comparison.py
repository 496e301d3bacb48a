"""What a comparison is and how it is measured: A B A B … in one process group, medians and ratios pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison. Times in seconds, or another quantity of which less is better; below a ratio of 1 mlrun is better."""

    name: str
    ours: list[float]
    peer: list[float]
    limit: float
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def cells(self) -> list[str]:
        spread = f"{min(self.ratios):.2f} … {max(self.ratios):.2f}"
        verdict = "holds" if self.ratio <= self.limit else "MISSED"
        times = (f"{statistics.median(self.ours):.3f}", f"{statistics.median(self.peer):.3f}")
        return [
            self.name,
            *times,
            f"{self.ratio:.2f}",
            spread,
            f"{self.limit:.2f}",
            verdict,
            str(len(self.ours)),
            self.note,
        ]


HEADER = ["comparison", "mlrun s", "peer s", "ratio", "spread", "limit", "", "pairs", "note"]


def interleave(
    ours: Callable[[], float], *peers: Callable[[], float], pairs: int, warmup: int = 1
) -> list[list[float]]:
    """Seconds of each, measured in turn; the first `warmup` rounds are not counted."""
    rounds = [[measure() for measure in (ours, *peers)] for _ in range(pairs + warmup)][warmup:]
    return [list(column) for column in zip(*rounds)]
