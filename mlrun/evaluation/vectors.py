"""The base of evaluators of vectors: they compare the rows of a part with one another, so they need all of them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.predictions import Predictions, VectorPredictions
from mlrun.evaluation.evaluator import Evaluator, Subject


class VectorEvaluator(Evaluator, ABC):
    """Collects the vectors and the classes of a part; `compute` reads `vectors` and `labels`."""

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._vectors: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: Predictions) -> None:
        self._vectors.append(cast(VectorPredictions, predictions).values)
        self._labels.append(batch["labels"].cpu().numpy())

    @property
    def vectors(self) -> np.ndarray:
        """(rows, size)."""
        return np.concatenate(self._vectors)

    @property
    def labels(self) -> np.ndarray:
        """(rows,) class indices."""
        return np.concatenate(self._labels)
