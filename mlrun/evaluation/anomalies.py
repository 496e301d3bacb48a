"""Evaluator of anomaly detection: how well the scores separate rows of the normal class from all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label
from mlrun.data.predictions import AnomalyPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator


class Anomalies(Evaluator):
    """Of `AnomalyPredictions`, compared with the classes, of which one is normal.

    `roc_auc` and `average_precision` of the score; at the detector's own threshold `detected`, the fraction of anomalies found, and
    `false_alarms`, the fraction of normal rows reported.
    """

    metrics = {
        "roc_auc": Better.LARGER,
        "average_precision": Better.LARGER,
        "detected": Better.LARGER,
        "false_alarms": Better.SMALLER,
    }

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Label)

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: AnomalyPredictions) -> None:
        self._truth, self._predictions = examples[self.subject.data.targets[0]] != predictions.normal, predictions

    def compute(self) -> dict[str, float]:
        truth, found = self._truth, self._predictions.is_anomaly
        return {
            "roc_auc": metrics.roc_auc(truth, self._predictions.scores),
            "average_precision": metrics.average_precision(truth, self._predictions.scores),
            "detected": float(np.mean(found[truth])) if truth.any() else float("nan"),
            "false_alarms": float(np.mean(found[~truth])) if (~truth).any() else float("nan"),
        }
