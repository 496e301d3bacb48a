"""Predictions of values against true values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.features import Value
from mlrun.data.module import DataModule
from mlrun.data.predictions import ValuePredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner


class Values(View):
    """Of `ValuePredictions`."""

    of_predictions = True

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report import figures

        predictions = evaluation.predictions
        if isinstance(predictions, ValuePredictions) and isinstance(data.target, Value):
            truth = evaluation.examples[data.targets[0]]
            yield (
                "predicted_against_true",
                figures.predicted_against_true(truth, predictions.values, data.target.column),
            )
