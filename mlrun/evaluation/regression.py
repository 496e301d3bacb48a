"""Evaluator of predicted values: root mean squared error and its baseline, mean absolute error, R^2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Value
from mlrun.data.predictions import ValuePredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.classification import baseline_of
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Regression(Evaluator):
    """Of `ValuePredictions`, in the target's unit; see `metrics.regression`.

    Also `baseline_rmse`, that of always predicting the mean of the training rows.
    """

    metrics = {"rmse": Better.SMALLER, "mae": Better.SMALLER, "r2": Better.LARGER, "baseline_rmse": Better.NEITHER}
    every_epoch = False  # tasks sum the squared error on the device while they train
    of_chosen_epoch = True

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
        measured = metrics.regression(truth, predicted)
        if (value := baseline_of(self.subject).get("value")) is not None:
            measured["baseline_rmse"] = float(np.sqrt(np.mean((truth - value) ** 2))) if len(truth) else float("nan")
        return measured
