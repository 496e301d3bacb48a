"""Texts, and parts of texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlrun.data.predictions.base import Predictions

_PARTS = re.compile(r"\w+|[^\w\s]")  # runs of letters and digits, and each other symbol


@dataclass
class TextPredictions(Predictions):
    """A text per row. scores: (rows,) log-probabilities that the decoder ranked them by, or None. lowercase: the model knows no capital
    letters, and references are compared in lower case. by_word: the model knows no spaces, and texts are compared word by word."""

    kind: ClassVar[str] = "text"
    shared: ClassVar[tuple[str, ...]] = ("lowercase", "by_word")
    texts: list[str]
    scores: np.ndarray | None = None
    lowercase: bool = False
    by_word: bool = False

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": self.texts[row]}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.texts}

    def answers(self) -> np.ndarray:
        answers = np.empty(len(self.texts), dtype=object)
        answers[:] = self.texts
        return answers

    def references(self, truth: Sequence[str | list[str]]) -> list[list[str]]:
        """The references of each row, normalized for comparison with its text. truth: one or several per row."""
        several = [[one] if isinstance(one, str) else list(one) for one in truth]
        return [[one.lower() for one in row] for row in several] if self.lowercase else several

    def mistakes(self, truth: Sequence[str | list[str]]) -> np.ndarray:
        """1 if the text equals none of its references, see `is_one_of`."""
        pairs = zip(self.texts, self.references(truth))
        return np.array([not is_one_of(text, expected, self.by_word) for text, expected in pairs], dtype=np.float64)


def is_one_of(text: str, references: Sequence[str], by_word: bool = False) -> bool:
    """Whether a text equals a reference, whatever white space is between words; by_word: also between words and punctuation marks, so that
    "yes , it is" equals "yes, it is"."""
    parts: Callable[[str], list[str]] = _PARTS.findall if by_word else str.split
    own = parts(text)
    return any(parts(one) == own for one in references)


@dataclass
class AnswersPredictions(TextPredictions):
    """The answers to the questions of a row, see `features.Answers`."""

    def mistakes(self, truth: Sequence[Any]) -> np.ndarray:
        """The share of the answers that are wrong."""
        return np.array([1 - np.mean(right) for right in self.right(truth)], dtype=np.float64)

    def right(self, truth: Sequence[Any]) -> list[list[bool]]:
        """Whether each answer of each row is that of the truth."""
        return [
            [one == other for one, other in zip(answers_in(text), answers_in(expected))]
            for text, (expected,) in zip(self.texts, self.references(truth))
        ]


def questions_in(text: str) -> list[str]:
    """The questions of a text: it ends each with a question mark, which the last one may lack."""
    return [f"{part.strip()}?" for part in text.split("?") if part.strip()] or ["?"]


def answers_in(text: str) -> list[str]:
    """The answers of a text, which are separated by semicolons, each `tidy`."""
    return [tidy(part) for part in text.split(";")]


def tidy(text: str) -> str:
    """The text with one space between words, and none before a punctuation mark."""
    return re.sub(r" (?=[,.:!?])", "", " ".join(text.split()))


@dataclass
class SpanPredictions(Predictions):
    """A span of a text per row: (rows, 2) first character and the one after the last, -1 if there is none; its text; (rows,) probabilities."""

    kind: ClassVar[str] = "span"
    spans: np.ndarray
    texts: list[str]
    probabilities: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        start, end = (int(place) for place in self.spans[row])
        return {
            "prediction": self.texts[row],
            "start": start,
            "end": end,
            "probability": float(self.probabilities[row]),
        }

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        """1 - F1 of the characters."""
        truth = np.asarray(truth)
        shared = np.minimum(self.spans[:, 1], truth[:, 1]) - np.maximum(self.spans[:, 0], truth[:, 0])
        lengths = (self.spans[:, 1] - self.spans[:, 0]) + (truth[:, 1] - truth[:, 0])
        neither = (self.spans[:, 0] < 0) & (truth[:, 0] < 0)
        return np.where(neither, 0.0, 1 - 2 * np.maximum(shared, 0) / np.maximum(lengths, 1))

    def confidence(self) -> np.ndarray:
        return self.probabilities


@dataclass
class TagsPredictions(Predictions):
    """A class for each token of a text: per row the tokens and the indices of their tags."""

    kind: ClassVar[str] = "tags"
    shared: ClassVar[tuple[str, ...]] = ("classes",)
    classes: list[str]
    tokens: list[list[str]]
    tags: list[np.ndarray]

    def row(self, row: int) -> dict[str, Any]:
        pairs = zip(self.tokens[row], self.tags[row])
        return {"prediction": [[token, self.classes[int(tag)]] for token, tag in pairs]}

    def mistakes(self, truth: Sequence[np.ndarray]) -> np.ndarray:
        """The fraction of tokens with a wrong tag."""
        return np.array([float(np.mean(tags != true)) if len(true) else 0.0 for tags, true in zip(self.tags, truth)])
