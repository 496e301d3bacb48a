"""Evaluator of answers to questions about images: exact matches, overall and by kind of question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.features import Answers, Feature
from mlrun.data.predictions import AnswersPredictions
from mlrun.data.predictions.texts import questions_in
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

ALL = "exact_match"


class VisualQuestions(Evaluator):
    """Of `AnswersPredictions`: the share of answers that are right, and the share for the questions that begin with each of the target's
    `kinds`, as Antol et al. 2015, arXiv:1505.00468, section 5, report results by question type."""

    metrics: Mapping[str, Better] = {"exact_match": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Answers)

    def prepare(self, target: Feature | None) -> None:
        assert isinstance(target, Answers)
        self._of, self._kinds = target.of, {kind: f"{ALL}_{'_'.join(kind.split())}" for kind in target.kinds}
        self.metrics = dict.fromkeys([ALL, *self._kinds.values()], Better.LARGER)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._right: dict[str, list[bool]] = {name: [] for name in self.metrics}

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: AnswersPredictions) -> None:
        for text, row in zip(examples[self._of], predictions.right(examples[self._name])):
            for question, right in zip(questions_in(text), row):
                self._right[ALL].append(right)
                for kind, name in self._kinds.items():
                    if question.startswith(kind):
                        self._right[name].append(right)

    def compute(self) -> dict[str, float]:
        return {name: sum(right) / len(right) for name, right in self._right.items() if right}
