"""Evaluator of clusters: inertia, silhouette, and agreement with classes if there are any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Label
from mlrun.data.predictions import GroupPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator


class Clustering(Evaluator):
    """Of `GroupPredictions`; see `metrics.clustering`.

    Also `inertia` of an estimator with centers, `log_likelihood` (mean, nats per row) of a mixture, and for an estimator that finds the
    number of clusters itself `clusters`, their number, and `noise`, the fraction of rows in none.
    """

    metrics = {
        "inertia": Better.SMALLER,
        "silhouette": Better.LARGER,
        "ari": Better.LARGER,
        "log_likelihood": Better.LARGER,
        "clusters": Better.NEITHER,
        "noise": Better.NEITHER,
    }
    needs_batch = True

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: GroupPredictions) -> None:
        self._rows, self._examples, self._predictions = batch["features"], examples, predictions

    def compute(self) -> dict[str, float]:
        data = self.subject.data
        classes = self._examples[data.targets[0]] if isinstance(data.target, Label) else None
        estimator, groups = self.subject.model.estimator, self._predictions.groups
        inertia = -estimator.score(self._rows) if hasattr(estimator, "cluster_centers_") else None
        measured = metrics.clustering(self._rows, groups, classes, inertia=inertia)
        if hasattr(estimator, "score_samples"):
            measured["log_likelihood"] = float(np.mean(estimator.score_samples(self._rows)))
        if hasattr(estimator, "core_labels_"):
            measured |= {"clusters": float(len(np.unique(groups[groups >= 0]))), "noise": float(np.mean(groups < 0))}
        return measured
