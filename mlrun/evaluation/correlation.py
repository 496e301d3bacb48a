"""Evaluator of predicted values: their correlation with the true ones."""

from __future__ import annotations

import numpy as np

from mlrun.evaluation.evaluator import Better
from mlrun.evaluation.values import ValueEvaluator


class Correlation(ValueEvaluator):
    """`pearson`, of the values, and `spearman`, of their ranks; NaN where one side is constant."""

    metrics = {"pearson": Better.LARGER, "spearman": Better.LARGER}

    def compute(self) -> dict[str, float]:
        from scipy.stats import rankdata

        truth, predicted = self.collected()
        return {
            "pearson": _pearson(truth, predicted),
            "spearman": _pearson(rankdata(truth), rankdata(predicted)),
        }


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else float("nan")
