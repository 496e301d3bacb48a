"""Error analysis of beam search: whether a wrong text is a search or a model error: beam_errors.csv."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.batches import whole_batch
from mlrun.data.module import DataModule
from mlrun.data.predictions import TextPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

LIMIT = 500  # largest number of wrong texts
ROWS = 256  # scored at once


class BeamErrors(View):
    """Of a task that generates by beam search."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.translation import beam_errors

        predictions, task = evaluation.predictions, getattr(learner, "task", None)
        if not isinstance(predictions, TextPredictions) or getattr(task, "beam_width", 1) == 1:
            return
        target = data.targets[0]
        wrong = np.flatnonzero(predictions.mistakes(evaluation.examples[target]))[:LIMIT]
        examples, generated = evaluation.examples.take(wrong), predictions.take(wrong)
        scores: list[float] = []
        for start in range(0, len(wrong), ROWS):
            encoded = learner.preprocessor.encode(examples.take(slice(start, start + ROWS)))
            batch = whole_batch(encoded, task.device)
            scores += task.score(batch["input_ids"], batch["labels"]).tolist()
        first = [references[0] for references in generated.references(examples[target])]
        yield (
            "beam_errors",
            beam_errors(list(examples[data.inputs[0]]), generated.texts, first, generated.scores, scores),
        )
