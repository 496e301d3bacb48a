"""Clusters on two components, and the centers of clusters of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Label
from mlrun.data.module import DataModule
from mlrun.data.predictions import GroupPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation


class Clusters(View):
    """Of the `GroupPredictions` of an `EstimatorLearner`."""

    parts = {"cluster_centers": "train"}

    def draw(self, learner: Any, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        if not isinstance(evaluation.predictions, GroupPredictions):
            return
        from mlrun.report import figures

        label = data.target if isinstance(data.target, Label) else None
        centers = getattr(learner.estimator, "cluster_centers_", None)
        yield (
            "clusters",
            figures.clusters_2d(
                np.asarray(learner.seen(evaluation.examples)),
                evaluation.predictions.groups,
                centers=centers,
                y_true=None if label is None else evaluation.examples[data.targets[0]],
                class_names=None if label is None else label.names,
            ),
        )
        if learner.image_shape and centers is not None:
            yield "cluster_centers", figures.component_images(centers, learner.image_shape, title="Cluster centers")
