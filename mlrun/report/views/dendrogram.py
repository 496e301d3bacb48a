"""The tree of merges of a hierarchical clustering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.module import DataModule
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation


class Dendrogram(View):
    """Of an estimator with a `linkage_matrix`, such as `mlrun.estimators.clusters.Hierarchical`. Shows the training rows."""

    part = "train"

    def draw(self, learner: Any, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        estimator = getattr(learner, "estimator", None)
        if hasattr(estimator, "linkage_matrix"):
            from mlrun.report.dendrogram import dendrogram_figure

            yield "dendrogram", dendrogram_figure(estimator.linkage_matrix, estimator.n_clusters, estimator.linkage)
