"""How well values were predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlrun.data.features import Value
from mlrun.data.module import DataModule
from mlrun.data.predictions import ValuePredictions
from mlrun.predictions.learner import Evaluation, Learner
from mlrun.report.view import View


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
