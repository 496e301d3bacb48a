"""Evaluator of answers that are spans of a text, as SQuAD's official program computes it (Rajpurkar et al. 2016 and 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mlrun.data.features import Feature, Span
from mlrun.data.predictions import SpanPredictions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

REFERENCES = "references"  # target that lists all right answers of a row; none for a question without an answer
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class AnswersEvaluator(Evaluator):
    """`exact_match` and `f1`, the overlap of words, of each answer with the nearest of its references, without case, punctuation and articles.

    The answer to a question without an answer is the empty text. `no_answer_accuracy`: the share of rows where having an answer or
    not is decided rightly.
    """

    metrics = {"f1": Better.LARGER, "exact_match": Better.LARGER, "no_answer_accuracy": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Span)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._of = subject.data.features[self._name].of
        self._scores: list[tuple[float, float, bool]] = []

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: SpanPredictions) -> None:
        if REFERENCES in examples:
            references = list(examples[REFERENCES])
        else:
            spans = zip(examples[self._of], examples[self._name])
            references = [[text[first:end]] if first >= 0 else [] for text, (first, end) in spans]
        for answer, right in zip(predictions.texts, references):
            self._scores.append((exact(answer, right), overlap(answer, right), bool(answer) == bool(right)))

    def compute(self) -> dict[str, float]:
        rows = max(1, len(self._scores))
        sums = [sum(column) / rows for column in zip(*self._scores)] or [0.0, 0.0, 0.0]
        return {"exact_match": sums[0], "f1": sums[1], "no_answer_accuracy": sums[2]}


def normalized(text: str) -> str:
    """Lower case, no punctuation, no articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, references: Sequence[str]) -> float:
    """1 if the normalized answer equals a reference. Without references the right answer is the empty text."""
    return float(any(normalized(answer) == normalized(one) for one in references or [""]))


def overlap(answer: str, references: Sequence[str]) -> float:
    """The largest F1 of the words of an answer and a reference."""
    return max(_f1(normalized(answer).split(), normalized(one).split()) for one in references or [""])


def _f1(found: list[str], true: list[str]) -> float:
    if not found or not true:
        return float(found == true)
    shared = sum((Counter(found) & Counter(true)).values())
    return 2 * shared / (len(found) + len(true))
