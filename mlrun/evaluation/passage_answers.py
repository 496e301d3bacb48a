"""Evaluator of answers from retrieved passages, against the same reader without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.features import Feature, Relevant
from mlrun.evaluation.answers import REFERENCES, exact, overlap
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

ROWS = 200  # questions that are read
PASSAGES = 3


class PassageAnswers(Evaluator):
    """`answer_exact_match` and `answer_f1` of the first ROWS questions with the PASSAGES best passages, and `closed_book_f1`, `closed_book_exact_match`:
    from a text that holds nothing but the question. Nothing where the model has no reader, or the data no answers.
    """

    metrics = dict.fromkeys(
        ("answer_exact_match", "answer_f1", "closed_book_exact_match", "closed_book_f1"), Better.LARGER
    )
    every_epoch = False

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Relevant)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._scores: list[list[float]] = []

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: Any) -> None:
        model = self.subject.model
        if model.reader is None or REFERENCES not in examples:
            return
        query = self.subject.data.inputs[0]
        for question, right in list(zip(examples[query], examples[REFERENCES]))[:ROWS]:
            passages = [text for _, text, _ in model.best_passages(question, PASSAGES)]
            given = [model.reader.answer(question, texts).text for texts in (passages, [question])]
            self._scores.append([score(text, right) for text in given for score in (exact, overlap)])

    def compute(self) -> dict[str, float]:
        if not self._scores:
            return {}
        return {name: sum(column) / len(column) for name, column in zip(self.metrics, zip(*self._scores))}
