"""Evaluator of predicted values: their correlation with the true ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.features import Feature, Value
from mlrun.data.predictions import ValuePredictions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Correlation(Evaluator):
    """`pearson`, of the values, and `spearman`, of their ranks; NaN where one side is constant."""

    metrics = {"pearson": Better.LARGER, "spearman": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Value)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: ValuePredictions) -> None:
        self._parts.append((examples[self._name], predictions.values))

    def compute(self) -> dict[str, float]:
        from scipy.stats import rankdata

        truth, predicted = (np.concatenate(values) for values in zip(*self._parts))
        return {
            "pearson": _pearson(truth, predicted),
            "spearman": _pearson(rankdata(truth), rankdata(predicted)),
        }


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else float("nan")
