"""Numbers of rows: values, vectors, clusters, scores and actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlrun.data.predictions.base import Predictions


@dataclass
class ValuePredictions(Predictions):
    """One number per row, in the target's unit: (rows,) float64."""

    kind: ClassVar[str] = "value"
    values: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": float(self.values[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.values}

    def answers(self) -> np.ndarray:
        return self.values

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return np.abs(self.values - truth)


@dataclass
class SeveralValuesPredictions(Predictions):
    """Several numbers per row, in the units of their targets: (rows, targets) float64. names: of the targets."""

    kind: ClassVar[str] = "values"
    shared: ClassVar[tuple[str, ...]] = ("names",)
    names: list[str]
    values: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {f"prediction_{name}": float(value) for name, value in zip(self.names, self.values[row])}

    def columns(self) -> dict[str, Any]:
        return {f"prediction_{name}": np.ascontiguousarray(self.values[:, at]) for at, name in enumerate(self.names)}

    def answers(self) -> np.ndarray:
        return self.values

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        """The root of the mean squared error of the targets, each in units of its standard deviation."""
        scale = np.std(truth, axis=0)
        return np.sqrt((((self.values - truth) / np.where(scale > 0, scale, 1.0)) ** 2).mean(axis=1))


@dataclass
class VectorPredictions(Predictions):
    """Codes, coordinates or embeddings: (rows, ...) numbers."""

    kind: ClassVar[str] = "vector"
    values: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {f"value_{at + 1}": float(value) for at, value in enumerate(np.ravel(self.values[row]))}

    def columns(self) -> dict[str, Any]:
        flat = self.values.reshape(len(self.values), -1)
        return {f"value_{at + 1}": np.ascontiguousarray(flat[:, at]) for at in range(flat.shape[1])}

    def answers(self) -> np.ndarray:
        return self.values


@dataclass
class GroupPredictions(Predictions):
    """The cluster of each row: (rows,) integers."""

    kind: ClassVar[str] = "group"
    groups: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": int(self.groups[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.groups}

    def answers(self) -> np.ndarray:
        return self.groups


@dataclass
class AnomalyPredictions(Predictions):
    """Scores of an anomaly detector, higher for stranger rows: scores (rows,) float64, is_anomaly (rows,) bool.

    normal: index of the class that the detector was fitted to.
    """

    kind: ClassVar[str] = "anomaly"
    shared: ClassVar[tuple[str, ...]] = ("normal",)
    normal: int
    scores: np.ndarray
    is_anomaly: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": self.answers()[row], "score": float(self.scores[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.answers(), "score": self.scores}

    def answers(self) -> np.ndarray:
        return np.where(self.is_anomaly, "anomaly", "normal")

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return (self.is_anomaly != (truth != self.normal)).astype(np.float64)


@dataclass
class ScorePredictions(Predictions):
    """A number per row that is not an estimate of a target, such as a discriminator's score: (rows,)."""

    kind: ClassVar[str] = "score"
    scores: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": float(self.scores[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.scores}

    def answers(self) -> np.ndarray:
        return self.scores


@dataclass
class ActionPredictions(Predictions):
    """The action of a policy: (rows,) integers. scores: (rows, actions), or None."""

    kind: ClassVar[str] = "action"
    actions: np.ndarray
    scores: np.ndarray | None = None

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": int(self.actions[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.actions}

    def answers(self) -> np.ndarray:
        return self.actions
