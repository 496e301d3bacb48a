"""Predictions of a search: documents in the order of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlrun.data.predictions import Predictions

SHOWN = 10  # documents of a row in files


@dataclass
class RankingPredictions(Predictions):
    """Documents by decreasing score: per row their indices and scores (documents,). names: of all documents."""

    kind: ClassVar[str] = "ranking"
    shared: ClassVar[tuple[str, ...]] = ("names",)
    names: list[str]
    documents: list[np.ndarray]
    scores: list[np.ndarray]

    def row(self, row: int) -> dict[str, Any]:
        found = zip(self.documents[row][:SHOWN], self.scores[row])
        return {
            "prediction": [
                {"document": self.names[int(place)], "score": round(float(score), 6)} for place, score in found
            ]
        }

    def mistakes(self, truth: Sequence[np.ndarray]) -> np.ndarray:
        """1 - the reciprocal rank of the first document that is relevant."""
        return np.array([1 - reciprocal_rank(found, true) for found, true in zip(self.documents, truth)])


def reciprocal_rank(ranked: np.ndarray, relevant: np.ndarray, depth: int | None = None) -> float:
    """1 / the place of the first relevant document among the first `depth`; 0 if there is none."""
    places = np.flatnonzero(np.isin(ranked[:depth], relevant))
    return 1 / (int(places[0]) + 1) if len(places) else 0.0
