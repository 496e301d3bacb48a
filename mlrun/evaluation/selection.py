"""Which epoch of a training is the best one: one rule for checkpoints, the progress line and the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

LOSS = "val/loss"


class Selection:
    """The best epoch so far.

    The watched metric decides. On a tie the smaller validation loss wins, then the later epoch: a small validation split
    reaches an accuracy of 1.0 by chance long before training is done. NaN is worse than any number.

    Args:
        monitor: name of the watched metric; None: the latest epoch is the best.
        mode: "min" or "max" of the watched metric.
    """

    def __init__(self, monitor: str | None, mode: Literal["min", "max"]):
        self.monitor, self.mode = monitor, mode
        self.epoch: int | None = None  # counted from 1; None before the first epoch
        self.value: float | None = None  # of the watched metric; None while it was never a number
        self.loss: float | None = None  # validation loss of that epoch, where there is one

    def offer(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Returns whether `epoch` is the best so far, and remembers it if so.

        Args:
            epoch: counted from 1, later than those offered before.
            metrics: of that epoch, the watched metric among them.
        """
        if self.monitor is None:
            self.epoch = epoch
            return True
        value, loss = float(metrics[self.monitor]), metrics.get(LOSS)
        if math.isnan(value):
            if self.epoch is not None:
                return False
            self.epoch = epoch  # better than no checkpoint
            return True
        loss = None if loss is None or math.isnan(loss) else float(loss)
        if self.value is not None and self._rank(value, loss) < self._rank(self.value, self.loss):
            return False
        self.epoch, self.value, self.loss = epoch, value, loss
        return True

    def _rank(self, value: float, loss: float | None) -> tuple[float, float]:
        """Larger is better."""
        return (value if self.mode == "max" else -value), (-math.inf if loss is None else -loss)

    def state_dict(self) -> dict[str, int | float | None]:
        return {"epoch": self.epoch, "value": self.value, "loss": self.loss}

    def load_state_dict(self, state: Mapping[str, int | float | None]) -> None:
        self.epoch, self.value, self.loss = state["epoch"], state["value"], state["loss"]


def select(
    history: Mapping[str, Sequence[tuple[int, float]]], monitor: str | None, mode: Literal["min", "max"]
) -> Selection:
    """The selection after all epochs of `history`, which maps a metric to its (epoch, value) points in order."""
    selection, losses = Selection(monitor, mode), dict(history.get(LOSS, ()))
    for epoch, value in history.get(monitor, ()):
        selection.offer(epoch, {monitor: value} | ({LOSS: losses[epoch]} if epoch in losses else {}))
    return selection
