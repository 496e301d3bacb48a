"""Evaluator of single-class predictions: accuracy, macro F1, log loss, ROC AUC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label
from mlrun.data.predictions import LabelPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Classification(Evaluator):
    """Of `LabelPredictions`; see `metrics.classification`."""

    metrics = {
        "accuracy": Better.LARGER,
        "f1_macro": Better.LARGER,
        "log_loss": Better.SMALLER,
        "roc_auc": Better.LARGER,
    }
    every_epoch = False  # tasks count hits on the device while they train

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Label)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._parts: list[tuple[np.ndarray, LabelPredictions]] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: LabelPredictions) -> None:
        self._parts.append((examples[self._name], predictions))

    def compute(self) -> dict[str, float]:
        truth = np.concatenate([true for true, _ in self._parts])
        predictions = self._parts[0][1].concatenate([one for _, one in self._parts[1:]])
        return metrics.classification(truth, predictions.indices, predictions.probabilities, len(predictions.classes))
