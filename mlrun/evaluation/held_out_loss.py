"""Evaluator of any task: the mean of its loss on the part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.predictions import Predictions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class HeldOutLoss(Evaluator):
    """`loss`, weighted by the items of each batch."""

    metrics = {"loss": Better.SMALLER}
    every_epoch = False  # the task reports it
    needs_predictions = False

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._sum: Any = 0.0
        self._count: Any = 0

    def update(self, batch: Mapping[str, Any], examples: Examples | None, predictions: Predictions | None) -> None:
        loss = self.subject.model.task.loss(batch)
        self._sum = self._sum + loss.value.double() * loss.count
        self._count = self._count + loss.count

    def compute(self) -> dict[str, float]:
        return {"loss": float(self._sum) / float(self._count)} if float(self._count) else {}
