"""Evaluator of clusters: inertia, silhouette, and agreement with classes if there are any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.features import Label
from mlrun.data.predictions import GroupPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator


class Clustering(Evaluator):
    """Of `GroupPredictions` of an estimator with `score` (minus the inertia); see `metrics.clustering`."""

    metrics = {"inertia": Better.SMALLER, "silhouette": Better.LARGER, "ari": Better.LARGER}
    needs_batch = True

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: GroupPredictions) -> None:
        self._rows, self._examples, self._predictions = batch["features"], examples, predictions

    def compute(self) -> dict[str, float]:
        data = self.subject.data
        classes = self._examples[data.targets[0]] if isinstance(data.target, Label) else None
        inertia = -self.subject.model.estimator.score(self._rows)
        return metrics.clustering(self._rows, self._predictions.groups, classes, inertia=inertia)
