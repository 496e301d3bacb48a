"""Questions about images: all answers as a table, answers.csv, and images with theirs, questions.png."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.features import Answers, Image
from mlrun.data.module import DataModule
from mlrun.data.predictions import AnswersPredictions
from mlrun.data.predictions.texts import answers_in, questions_in
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

IMAGES = 8


class VisualQuestions(View):
    """Of `AnswersPredictions`; the figure shows the first images of the part."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.translation import Table
        from mlrun.report.visual_questions import answered_images

        predictions, target, examples = evaluation.predictions, data.target, evaluation.examples
        if not isinstance(predictions, AnswersPredictions) or not isinstance(target, Answers) or examples is None:
            return
        truth = examples[data.targets[0]]
        rows = [
            list(zip(questions_in(asked), answers_in(text), answers_in(expected), right))
            for asked, text, (expected,), right in zip(
                examples[target.of], predictions.texts, predictions.references(truth), predictions.right(truth)
            )
        ]
        cells = [
            [row, question, answer, int(right), expected]
            for row, several in enumerate(rows)
            for question, answer, expected, right in several
        ]
        yield "answers", Table(["row", "question", "written", "right", "reference"], cells)
        image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
        if image is not None:
            shown = list(examples.take(slice(0, IMAGES))[image])
            yield "questions", answered_images(shown, rows[:IMAGES])
