"""Evaluator of verification: is a pair of the same class?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.predictions import Predictions
from mlrun.evaluation.evaluator import Better, Subject
from mlrun.evaluation.metrics import roc_auc
from mlrun.evaluation.pairs import draw_pairs, equal_error_rate, pair_accuracy
from mlrun.evaluation.vectors import VectorEvaluator

SEED = 3  # of the pairs


class Verification(VectorEvaluator):
    """Of a `Similarity` task: pairs of rows of the part, as many of the same class as of different classes.

    `pair_accuracy` at the threshold that the task chose on the validation part (there it is optimistic), `equal_error_rate`, `pair_auc`;
    at the end also `pixels_error_rate`, the equal error rate of the Euclidean distance of the network's inputs, and, for a task
    that compares vectors in another way, `euclidean_error_rate` of that distance between the same vectors.

    Args:
        partners: pairs of either kind for each row.
    """

    metrics = {
        "equal_error_rate": Better.SMALLER,
        "pair_accuracy": Better.LARGER,
        "pair_auc": Better.LARGER,
        "euclidean_error_rate": Better.SMALLER,
        "pixels_error_rate": Better.SMALLER,
    }

    def __init__(self, partners: int = 4):
        self.partners = partners

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._inputs: list[Any] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: Predictions) -> None:
        super().update(batch, examples, predictions)
        if not self.subject.in_training:
            self._inputs.append(next(iter(batch.values())))

    def compute(self) -> dict[str, float]:
        task = self.subject.model.task
        vectors, labels = self.vectors, self.labels
        # for figures
        self.pairs = draw_pairs(labels, self.partners, SEED)
        self.distances = task.distances(vectors, self.pairs.first, self.pairs.second)
        self.threshold = float(task.threshold)
        found = {
            "equal_error_rate": equal_error_rate(self.distances, self.pairs.same),
            "pair_accuracy": pair_accuracy(self.distances, self.pairs.same, self.threshold)
            if np.isfinite(self.threshold)
            else float("nan"),
            "pair_auc": roc_auc(self.pairs.same, -self.distances),
        }
        if self.subject.in_training:
            return found
        if not task.is_euclidean:
            found["euclidean_error_rate"] = self._euclidean_error_rate(vectors)
        if self._inputs and self._inputs[0].is_floating_point():
            pixels = np.concatenate([x.flatten(1).cpu().numpy() for x in self._inputs])
            found["pixels_error_rate"] = self._euclidean_error_rate(pixels)
        return found

    def _euclidean_error_rate(self, vectors: np.ndarray) -> float:
        return equal_error_rate(row_distances(vectors, self.pairs.first, self.pairs.second), self.pairs.same)


def row_distances(vectors: np.ndarray, first: np.ndarray, second: np.ndarray, rows: int = 4096) -> np.ndarray:
    """(pairs,) Euclidean distances of the rows `first` and `second`, `rows` at a time."""
    parts = [
        np.sqrt(((vectors[first[at : at + rows]] - vectors[second[at : at + rows]]) ** 2).sum(1))
        for at in range(0, len(first), rows)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=vectors.dtype)
