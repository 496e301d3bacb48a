"""Evaluator of retrieval between images and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Caption, Feature
from mlrun.data.predictions import VectorPredictions
from mlrun.data.preprocess.captions import first_captions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject
from mlrun.evaluation.metrics import found_within

RANKS = (1, 5, 10)


class CrossRetrieval(Evaluator):
    """Of an `ImageText` task: each image searches for its text among the texts of all images of the part (`recall_at_K`), and each text for its
    image (`image_recall_at_K`). Where several images have the same text, any of them is right. Equal similarities count as ordered at random.

    `candidates`: texts to choose from; of equal ones a single one counts.
    """

    metrics = {
        "recall_at_1": Better.LARGER,
        "recall_at_5": Better.LARGER,
        "recall_at_10": Better.LARGER,
        "image_recall_at_1": Better.LARGER,
        "image_recall_at_5": Better.LARGER,
        "image_recall_at_10": Better.LARGER,
        "candidates": Better.NEITHER,
    }

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Caption)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._vectors: list[np.ndarray] = []
        self._texts: list[str] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: VectorPredictions) -> None:
        self._vectors.append(predictions.values)
        self._texts += first_captions(examples[self._name])

    def compute(self) -> dict[str, float]:
        texts = list(dict.fromkeys(self._texts))
        own = np.array([texts.index(text) for text in self._texts])
        scores = np.concatenate(self._vectors) @ self.subject.model.task.encode_texts(texts).T
        right = own[:, None] == np.arange(len(texts))
        of_images, of_texts = recalls(scores, right), recalls(scores.T, right.T)
        return {
            **{f"recall_at_{rank}": value for rank, value in of_images.items()},
            **{f"image_recall_at_{rank}": value for rank, value in of_texts.items()},
            "candidates": float(len(texts)),
        }


def recalls(scores: np.ndarray, right: np.ndarray) -> dict[int, float]:
    """For each of RANKS the share of searches that have a right candidate within it.

    Args:
        scores: (searches, candidates), larger is better.
        right: (searches, candidates) bool, at least one in each row.
    """
    top = np.where(right, scores, -np.inf).max(1, keepdims=True)
    ahead = scores > top
    tied = ~ahead & ~(scores < top)  # also what is not a number
    counts = (ahead & ~right).sum(1), (tied & ~right).sum(1), (tied & right).sum(1)
    return {rank: float(found_within(*counts, rank).mean()) for rank in RANKS}
