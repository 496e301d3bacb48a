"""Evaluator of predicted values: root mean squared error, mean absolute error, R^2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Value
from mlrun.data.predictions import ValuePredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Regression(Evaluator):
    """Of `ValuePredictions`, in the target's unit; see `metrics.regression`."""

    metrics = {"rmse": Better.SMALLER, "mae": Better.SMALLER, "r2": Better.LARGER}
    every_epoch = False  # tasks sum the squared error on the device while they train

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Value)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: ValuePredictions) -> None:
        self._parts.append((examples[self._name], predictions.values))

    def compute(self) -> dict[str, float]:
        truth, predicted = (np.concatenate(values) for values in zip(*self._parts))
        return metrics.regression(truth, predicted)
