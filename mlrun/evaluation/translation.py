"""Evaluator of generated texts against references: exact matches, and BLEU if the dataset uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Text
from mlrun.data.predictions import TextPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Translation(Evaluator):
    """Of `TextPredictions`, see `metrics.translation`. The dataset's `measure` determines whether BLEU is computed."""

    metrics = {"exact_match": Better.LARGER, "bleu": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Text)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._texts: list[str] = []
        self._references: list[list[str]] = []
        self._by_word = False

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: TextPredictions) -> None:
        self._texts += predictions.texts
        self._references += predictions.references(examples[self._name])
        self._by_word = predictions.by_word

    def compute(self) -> dict[str, float]:
        with_bleu = self.subject.data.spec.get("measure") == "bleu"
        return metrics.translation(self._texts, self._references, with_bleu, self._by_word)
