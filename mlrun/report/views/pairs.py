"""Pairs compared by a similarity model: ROC, distances, and the worst mistakes as images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image
from mlrun.data.module import DataModule
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner


class Pairs(View):
    """Of the `Verification` evaluator."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.similarity import distance_histogram, pair_roc, worst_first, worst_pairs

        measured: Any = evaluation.evaluators.get("Verification")
        if measured is None or not measured.pairs.same.any() or measured.pairs.same.all():
            return
        pairs, distances, threshold = measured.pairs, measured.distances, measured.threshold
        yield "pair_roc", pair_roc(distances, pairs.same)
        yield "pair_distances", distance_histogram(distances, pairs.same, threshold)
        image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
        if image is None or not np.isfinite(threshold):
            return
        # a pair and its reverse are drawn once
        _, distinct = np.unique(np.sort(np.stack([pairs.first, pairs.second]), axis=0), axis=1, return_index=True)
        chosen = distinct[worst_first(distances[distinct], pairs.same[distinct], threshold)]
        first, second = (evaluation.examples.take(rows[chosen])[image] for rows in (pairs.first, pairs.second))
        yield "worst_pairs", worst_pairs(first, second, distances[chosen], pairs.same[chosen], threshold)
