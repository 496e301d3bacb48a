"""Table of the generated texts of a part with their references: translations.csv."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.module import DataModule
from mlrun.data.predictions import TextPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner


class Translations(View):
    """Of `TextPredictions`."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.translation import translations

        predictions = evaluation.predictions
        if not isinstance(predictions, TextPredictions) or data.target is None:
            return
        truth = evaluation.examples[data.targets[0]]
        sources = list(evaluation.examples[data.inputs[0]])
        yield (
            "translations",
            translations(sources, predictions.texts, predictions.references(truth), predictions.mistakes(truth)),
        )
