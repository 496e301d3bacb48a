"""Probabilities that change during training: of random actions (exploration), of feeding true tokens (scheduled sampling).

A schedule maps the share of the training that is over, 0 to 1, to a probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Annealing = Callable[[float], float]


@dataclass(frozen=True)
class Linear:
    """A straight line from `start` to `end` over the first `fraction` of the training, then constant.

    Raises:
        ValueError: an argument lies outside of [0, 1].
    """

    start: float = 1.0
    end: float = 0.05
    fraction: float = 0.5

    def __post_init__(self) -> None:
        _check(self, low=0.0)

    def __call__(self, progress: float) -> float:
        """progress: 0 (start of the training) to 1 (its end) -> probability."""
        if progress >= self.fraction:
            return self.end
        return self.start + (self.end - self.start) * progress / self.fraction


@dataclass(frozen=True)
class Exponential:
    """start * (end / start) ** (progress / fraction), then constant.

    Raises:
        ValueError: an argument lies outside of (0, 1].
    """

    start: float = 1.0
    end: float = 0.01
    fraction: float = 1.0

    def __post_init__(self) -> None:
        _check(self, low=1e-12)

    def __call__(self, progress: float) -> float:
        """progress: 0 (start of the training) to 1 (its end) -> probability."""
        if progress >= self.fraction:
            return self.end
        return self.start * (self.end / self.start) ** (progress / self.fraction)


def _check(schedule: Linear | Exponential, low: float) -> None:
    for name, least in (("start", low), ("end", low), ("fraction", 1e-12)):
        value = getattr(schedule, name)
        if not least <= value <= 1:
            raise ValueError(f"{name}={value}: must be in {'[' if least == 0 else '('}0, 1]")
