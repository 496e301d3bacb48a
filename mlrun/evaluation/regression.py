"""Evaluator of predicted values: root mean squared error and its baseline, mean absolute error, R^2."""

from __future__ import annotations

import numpy as np

from mlrun.evaluation import metrics
from mlrun.evaluation.classification import baseline_of
from mlrun.evaluation.evaluator import Better
from mlrun.evaluation.values import ValueEvaluator


class Regression(ValueEvaluator):
    """Of `ValuePredictions`, in the target's unit; see `metrics.regression`.

    Also `baseline_rmse`, that of always predicting the mean of the training rows.
    """

    metrics = {"rmse": Better.SMALLER, "mae": Better.SMALLER, "r2": Better.LARGER, "baseline_rmse": Better.NEITHER}
    every_epoch = False  # tasks sum the squared error on the device while they train
    of_chosen_epoch = True

    def compute(self) -> dict[str, float]:
        truth, predicted = self.collected()
        measured = metrics.regression(truth, predicted)
        if (value := baseline_of(self.subject).get("value")) is not None:
            measured["baseline_rmse"] = float(np.sqrt(np.mean((truth - value) ** 2))) if len(truth) else float("nan")
        return measured
