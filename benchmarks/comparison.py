"""What a comparison is and how it is measured: A B A B … in one process group, medians and ratios pair by pair."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison. Times in seconds; the ratio is mlrun's time over the peer's, so below 1 is faster."""

    name: str
    ours: "list[float]"
    peer: "list[float]"
    limit: float
    note: str = ""

    @property
    def ratios(self) -> "list[float]":
        return [a / b for a, b in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def cells(self) -> "list[str]":
        spread = f"{min(self.ratios):.2f} … {max(self.ratios):.2f}"
        verdict = "holds" if self.ratio <= self.limit else "MISSED"
        times = (f"{statistics.median(self.ours):.3f}", f"{statistics.median(self.peer):.3f}")
        return [self.name, *times, f"{self.ratio:.2f}", spread, f"{self.limit:.2f}", verdict, str(len(self.ours)), self.note]


HEADER = ["comparison", "mlrun s", "peer s", "ratio", "spread", "limit", "", "pairs", "note"]


def interleave(ours: "Callable[[], float]", peer: "Callable[[], float]", pairs: int, warmup: int = 1) -> "tuple[list[float], list[float]]":
    """Seconds of each, measured in turn; the first `warmup` pairs are not counted."""
    times = [(ours(), peer()) for _ in range(pairs + warmup)][warmup:]
    return [a for a, _ in times], [b for _, b in times]
