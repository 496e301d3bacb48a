"""Scores of an anomaly detector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.features import Label
from mlrun.data.module import DataModule
from mlrun.data.predictions import AnomalyPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation


class AnomalyScores(View):
    """Of `AnomalyPredictions`: the scores of the normal class and of the others, and ROC and precision-recall curves."""

    def draw(self, learner: Any, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        predictions, target = evaluation.predictions, data.target
        if not isinstance(predictions, AnomalyPredictions) or not isinstance(target, Label):
            return
        from mlrun.report.classes import roc_and_pr, score_histogram

        anomalous = evaluation.examples[data.targets[0]] != predictions.normal
        normal = target.names[predictions.normal]
        yield (
            "scores",
            score_histogram(predictions.scores, anomalous, [f"normal ({normal})", "anomalies (other classes)"]),
        )
        if anomalous.any() and not anomalous.all():
            yield "roc_and_pr", roc_and_pr(anomalous, predictions.scores, [str(normal), "anomaly"])
