"""Evaluator of text encoders: how early the relevant documents come, ranked by the cosine of their vectors and the query's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Relevant
from mlrun.data.predictions import VectorPredictions
from mlrun.evaluation.evaluator import Evaluator, Subject
from mlrun.evaluation.ranking import Ranking, measures


class DenseRanking(Evaluator):
    """The metrics of `mlrun.evaluation.ranking`, of a model that answers a text with a vector, over all documents of the dataset."""

    metrics = Ranking.metrics
    every_epoch = False

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Relevant)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._vectors: list[np.ndarray] = []
        self._relevant: list[np.ndarray] = []

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: VectorPredictions) -> None:
        self._vectors.append(np.asarray(predictions.values, dtype=np.float32))
        self._relevant += list(examples[self.subject.data.targets[0]])

    def compute(self) -> dict[str, float]:
        data = self.subject.data
        column = np.empty(len(data.documents), dtype=object)
        column[:] = [one.text for one in data.documents]
        (name,) = data.inputs
        documents = self.subject.model.predict(Examples({name: column}, {name: data.features[name]})).values
        queries, documents = np.concatenate(self._vectors), np.asarray(documents, dtype=np.float32)
        scores = queries @ (documents / np.linalg.norm(documents, axis=1, keepdims=True)).T
        rows = [
            measures(np.argsort(-row, kind="stable"), true) for row, true in zip(scores, self._relevant) if len(true)
        ]
        return dict(zip(self.metrics, np.mean(rows, axis=0).tolist()))
