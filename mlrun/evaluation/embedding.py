"""Evaluator of low-dimensional embeddings: how well neighbourhoods are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Label
from mlrun.data.predictions import VectorPredictions
from mlrun.evaluation.evaluator import Better, Evaluator

NEIGHBOURS = 5


class Embedding(Evaluator):
    """Of the `VectorPredictions` of an estimator with `transform`.

    `trustworthiness` (Venna and Kaski 2001): 1 if all NEIGHBOURS neighbours in the embedding are neighbours in the data too.
    `neighbour_accuracy`, with classes: the fraction of rows whose nearest row in the embedding has the same class.
    """

    metrics = {"trustworthiness": Better.LARGER, "neighbour_accuracy": Better.LARGER}
    needs_batch = True

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: VectorPredictions) -> None:
        self._rows, self._examples, self._places = np.asarray(batch["features"]), examples, predictions.values

    def compute(self) -> dict[str, float]:
        from sklearn.manifold import trustworthiness
        from sklearn.neighbors import NearestNeighbors

        neighbours = min(NEIGHBOURS, (len(self._rows) - 1) // 2)
        if neighbours < 1:
            return {}
        measured = {"trustworthiness": float(trustworthiness(self._rows, self._places, n_neighbors=neighbours))}
        data = self.subject.data
        if isinstance(data.target, Label):
            classes = self._examples[data.targets[0]]
            nearest = NearestNeighbors(n_neighbors=1).fit(self._places).kneighbors(return_distance=False)[:, 0]
            measured["neighbour_accuracy"] = float(np.mean(classes[nearest] == classes))
        return measured
