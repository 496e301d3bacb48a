"""Evaluator of dimensionality reduction: explained variance and reconstruction error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.predictions import VectorPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator


class Decomposition(Evaluator):
    """Of an estimator with `transform` and `inverse_transform`; see `metrics.decomposition`."""

    metrics = {"explained_variance": Better.LARGER, "reconstruction_error": Better.SMALLER}
    needs_batch = True

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: VectorPredictions) -> None:
        self._rows, self._codes = batch["features"], predictions.values

    def compute(self) -> dict[str, float]:
        estimator = self.subject.model.estimator
        restored = estimator.inverse_transform(self._codes)
        return metrics.decomposition(self._rows, restored)
