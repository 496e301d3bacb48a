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

RANKS = (1, 5, 10)


class CrossRetrieval(Evaluator):
    """Of an `ImageText` task: each image searches for its text among the texts of all images of the part (`recall_at_K`), and each text for its
    image (`image_recall_at_K`). Where several images have the same text, any of them is right.

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
        best = (scores > scores[np.arange(len(own)), own][:, None]).sum(1)  # texts that an image ranks before its own
        found = {f"recall_at_{rank}": float((best < rank).mean()) for rank in RANKS}
        right = own[:, None] == np.arange(len(texts))
        top = np.where(right, scores, -np.inf).max(0)  # the best of the right images of each text
        before = ((scores > top) & ~right).sum(0)
        found |= {f"image_recall_at_{rank}": float((before < rank).mean()) for rank in RANKS}
        return {**found, "candidates": float(len(texts))}
