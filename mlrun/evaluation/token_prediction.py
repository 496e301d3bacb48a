"""Evaluator of teacher-forced token prediction by an encoder-decoder: cross-entropy and accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Text
from mlrun.data.predictions import Predictions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class TokenPrediction(Evaluator):
    """Means over tokens of the sums that the task's loss reports per batch."""

    metrics = {"loss": Better.SMALLER, "token_accuracy": Better.LARGER}
    every_epoch = False  # the task reports them while it validates
    needs_predictions = False

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Text)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._sums: dict[str, Any] = {}
        self._count: Any = 0

    def update(self, batch: Mapping[str, Any], examples: Examples | None, predictions: Predictions | None) -> None:
        loss = self.subject.model.task.loss(batch)
        self._count = self._count + loss.count
        self._sums = {name: self._sums.get(name, 0) + value for name, value in loss.sums.items()}

    def compute(self) -> dict[str, float]:
        return {name: float(value) / float(self._count) for name, value in self._sums.items()}
