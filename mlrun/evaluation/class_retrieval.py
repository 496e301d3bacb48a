"""Evaluator of retrieval: are the nearest rows of the same class?"""

from __future__ import annotations

import numpy as np

from mlrun.evaluation.evaluator import Better
from mlrun.evaluation.vectors import VectorEvaluator

SEED = 5  # of the sample of rows


class ClassRetrieval(VectorEvaluator):
    """Of a `Similarity` task: each row of the part searches for the others of its class among all rows of the part.

    `precision_at_1`: the share of rows whose nearest row is of their class. `retrieval_map`: mean average precision over all ranks.
    Rows without another of their class search for nothing and are left out, but can be found.

    Args:
        most_rows: a larger part is sampled.
    """

    metrics = {"precision_at_1": Better.LARGER, "retrieval_map": Better.LARGER}
    every_epoch = False

    def __init__(self, most_rows: int = 2000):
        self.most_rows = most_rows

    def compute(self) -> dict[str, float]:
        vectors, labels = self.vectors, self.labels
        if len(labels) > self.most_rows:
            rows = np.random.default_rng(SEED).permutation(len(labels))[: self.most_rows]
            vectors, labels = vectors[rows], labels[rows]
        distances = self.subject.model.task.distance_matrix(vectors, vectors)
        distances[np.isnan(distances)] = np.inf  # of vectors that are no numbers
        np.fill_diagonal(distances, np.nan)  # the row itself comes last
        ranked = labels[np.argsort(distances, axis=1, kind="stable")[:, :-1]] == labels[:, None]
        found = ranked.sum(1)
        if not found.any():
            return {"precision_at_1": float("nan"), "retrieval_map": float("nan")}
        precision = np.cumsum(ranked, axis=1) / np.arange(1, ranked.shape[1] + 1)
        average = (precision * ranked).sum(1)[found > 0] / found[found > 0]
        return {"precision_at_1": float(ranked[found > 0, 0].mean()), "retrieval_map": float(average.mean())}
