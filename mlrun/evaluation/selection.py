"""Selection of the best epoch: one rule for checkpoints, the progress line and the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlrun.errors import DataError

LOSS = "val/loss"


class Selection:
    """The best epoch so far.

    The monitored metric decides. On a tie the smaller validation loss wins, then the later epoch, because a small validation split
    reaches an accuracy of 1.0 by chance long before training ends. NaN is worse than any number; while the metric has only been NaN, because the
    metric cannot be measured on the validation part, the smallest validation loss decides.

    Args:
        monitor: name of the monitored metric; None: the latest epoch is the best.
        mode: "min" or "max" of the monitored metric.
    """

    def __init__(self, monitor: str | None, mode: str):
        self.monitor, self.mode = monitor, mode
        self.epoch: int | None = None  # counted from 1; None before the first epoch
        self.value: float | None = None  # of the monitored metric; None while it has only been NaN
        self.loss: float | None = None  # validation loss of that epoch, where there is one

    def offer(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Returns whether `epoch` is the best so far, and records it if so.

        Args:
            epoch: counted from 1, later than those offered before.
            metrics: of that epoch, including the monitored metric.

        Raises:
            DataError: the monitored metric was not measured.
        """
        if self.monitor is None:
            self.epoch = epoch
            return True
        if self.monitor not in metrics:
            raise DataError(
                f"{self.monitor} was not measured: the validation split holds nothing that this model can measure; enlarge dataset.split.val"
            )
        value, loss = float(metrics[self.monitor]), metrics.get(LOSS)
        loss = None if loss is None or math.isnan(loss) else float(loss)
        if math.isnan(value):
            smaller = loss is not None and (self.loss is None or loss <= self.loss)
            if self.value is not None or self.epoch is not None and not smaller:
                return False
            self.epoch, self.loss = epoch, loss  # the first one even without a loss: better than no checkpoint
            return True
        if self.value is not None and self._rank(value, loss) < self._rank(self.value, self.loss):
            return False
        self.epoch, self.value, self.loss = epoch, value, loss
        return True

    def _rank(self, value: float, loss: float | None) -> tuple[float, float]:
        """Larger is better."""
        return (value if self.mode == "max" else -value), (-math.inf if loss is None else -loss)

    def state_dict(self) -> dict[str, int | float | None]:
        return {"epoch": self.epoch, "value": self.value, "loss": self.loss}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.value, self.loss = state["epoch"], state["value"], state["loss"]


def select(history: Mapping[str, Sequence[tuple[int, float]]], monitor: str | None, mode: str) -> Selection:
    """The selection after all epochs of `history`, which maps a metric to its (epoch, value) points in order."""
    selection, losses = Selection(monitor, mode), dict(history.get(LOSS, ()))
    if monitor is not None:
        for epoch, value in history.get(monitor, ()):
            selection.offer(epoch, {monitor: value} | ({LOSS: losses[epoch]} if epoch in losses else {}))
    return selection
