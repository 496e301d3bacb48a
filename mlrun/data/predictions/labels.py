"""Classes of rows: one of them, or any number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlrun.data.predictions.base import Predictions


@dataclass
class LabelPredictions(Predictions):
    """One class per row.

    classes: original values of the classes. indices: (rows,) int64, predicted classes. probabilities: (rows, classes), or None.
    """

    kind: ClassVar[str] = "label"
    shared: ClassVar[tuple[str, ...]] = ("classes",)
    classes: list[Any]
    indices: np.ndarray
    probabilities: np.ndarray | None = None

    def row(self, row: int) -> dict[str, Any]:
        answer: dict[str, Any] = {"prediction": self.classes[int(self.indices[row])]}
        if self.probabilities is not None:
            answer |= {f"probability_{name}": float(p) for name, p in zip(self.classes, self.probabilities[row])}
        return answer

    def columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {"prediction": self.answers()}
        if self.probabilities is not None:
            shares = np.asarray(self.probabilities, dtype=np.float32)
            columns |= {
                f"probability_{name}": np.ascontiguousarray(shares[:, at]) for at, name in enumerate(self.classes)
            }
        return columns

    def answers(self) -> np.ndarray:
        return np.asarray(self.classes)[self.indices]

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return (self.indices != truth).astype(np.float64)

    def confidence(self) -> np.ndarray | None:
        return None if self.probabilities is None else self.probabilities[np.arange(len(self)), self.indices]


@dataclass
class LabelsPredictions(Predictions):
    """Any number of classes per row: those whose probability reaches their threshold.

    probabilities: (rows, classes). thresholds: (classes,).
    """

    kind: ClassVar[str] = "labels"
    shared: ClassVar[tuple[str, ...]] = ("classes", "thresholds")
    classes: list[str]
    probabilities: np.ndarray
    thresholds: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(rows, classes) bool."""
        return self.probabilities >= self.thresholds

    def row(self, row: int) -> dict[str, Any]:
        present = self.probabilities[row] >= self.thresholds
        return {
            "prediction": [name for name, there in zip(self.classes, present) if there],
            **{f"probability_{name}": float(p) for name, p in zip(self.classes, self.probabilities[row])},
        }

    def answers(self) -> list[list[str]]:
        return [[name for name, there in zip(self.classes, row) if there] for row in self.present]

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return (self.present != np.asarray(truth, dtype=bool)).mean(axis=1)

    def confidence(self) -> np.ndarray:
        """The mean over the classes of the probability of the decision."""
        return np.where(self.present, self.probabilities, 1 - self.probabilities).mean(axis=1)
