"""Evaluator of searches: how early the relevant documents come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.features import Feature, Relevant
from mlrun.data.rankings import RankingPredictions, reciprocal_rank
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Ranking(Evaluator):
    """Means over the queries: `map` (average precision over the whole ranking, of `rag` its first thousand documents), the reciprocal rank within the first ten as `mrr_10`, `ndcg_10` with binary relevance, and
    `recall_10`, `recall_100`. Queries without a relevant document are left out."""

    metrics = {
        "map": Better.LARGER,
        "mrr_10": Better.LARGER,
        "ndcg_10": Better.LARGER,
        "recall_10": Better.LARGER,
        "recall_100": Better.LARGER,
    }

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Relevant)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._rows: list[list[float]] = []

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: RankingPredictions) -> None:
        for ranked, relevant in zip(predictions.documents, examples[self._name]):
            if len(relevant):
                self._rows.append(measures(np.asarray(ranked), np.asarray(relevant)))

    def compute(self) -> dict[str, float]:
        means = np.mean(self._rows, axis=0) if self._rows else np.full(len(self.metrics), np.nan)
        return dict(zip(self.metrics, means.tolist()))


def measures(ranked: np.ndarray, relevant: np.ndarray) -> list[float]:
    """Average precision, reciprocal rank of the first ten, nDCG of the first ten, recall of the first ten and hundred.

    Args:
        ranked: (documents,) indices, best first.
        relevant: (relevant,) indices, at least one.
    """
    hits = np.isin(ranked, relevant)
    places = np.flatnonzero(hits)
    precision = np.arange(1, len(places) + 1) / (places + 1)
    gains = 1 / np.log2(np.arange(2, 12))
    ideal = gains[: len(relevant)].sum()
    return [
        float(precision.sum()) / len(relevant),
        reciprocal_rank(ranked, relevant, 10),
        float((hits[:10] * gains[: len(hits[:10])]).sum() / ideal),
        float(hits[:10].sum()) / len(relevant),
        float(hits[:100].sum()) / len(relevant),
    ]
