"""How much a learner explores: the share of random actions, as a function of the share of the training that is over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` in a straight line over the first `fraction` of the training, then constant."""

    start: float = 1.0
    end: float = 0.05
    fraction: float = 0.5

    def __post_init__(self):
        _check(self, low=0.0)

    def __call__(self, progress: float) -> float:
        """progress: 0 (begin) to 1 (end of the training) -> epsilon."""
        if progress >= self.fraction:
            return self.end
        return self.start + (self.end - self.start) * progress / self.fraction


@dataclass(frozen=True)
class Exponential:
    """start * (end / start) ** (progress / fraction), then constant."""

    start: float = 1.0
    end: float = 0.01
    fraction: float = 1.0

    def __post_init__(self):
        _check(self, low=1e-12)

    def __call__(self, progress: float) -> float:
        if progress >= self.fraction:
            return self.end
        return self.start * (self.end / self.start) ** (progress / self.fraction)


def _check(schedule, low: float) -> None:
    for name, least in (("start", low), ("end", low), ("fraction", 1e-12)):
        value = getattr(schedule, name)
        if not least <= value <= 1:
            raise ValueError(f"{name}={value}: must be in {'[' if least == 0 else '('}0, 1]")
