"""Predictions of values against true values, of one target or of several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.features import Value
from mlrun.data.module import DataModule
from mlrun.data.predictions import SeveralValuesPredictions, ValuePredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

MOST = 6  # targets with a figure


class Values(View):
    """Of `ValuePredictions`, and of `SeveralValuesPredictions` for up to MOST targets."""

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
        if isinstance(predictions, SeveralValuesPredictions):
            truth = evaluation.examples[data.targets[0]]
            for at, name in enumerate(predictions.names[:MOST]):
                figure = figures.predicted_against_true(truth[:, at], predictions.values[:, at], name)
                yield f"predicted_against_true_{at + 1}", figure
