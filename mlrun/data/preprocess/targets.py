"""Encoders of the targets of classification and regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import (
    Label,
    Labels,
    Value,
    Values,
)
from mlrun.data.predictions import (
    LabelPredictions,
    LabelsPredictions,
    SeveralValuesPredictions,
    ValuePredictions,
)
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.scaling import deviation, nonzero

if TYPE_CHECKING:
    from mlrun.data.examples import Examples


class LabelEncoder(Encoder):
    """Class indices (rows,) int64. Decodes `probabilities` (rows, classes)."""

    key = "labels"
    outputs = frozenset({"probabilities"})
    follows = True
    feature: Label

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: np.asarray(column, dtype=np.int64)}

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "target": self.feature.kind,
            "num_outputs": len(self.feature.classes),
            "num_classes": len(self.feature.classes),
            "target_std": 1.0,
        }

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> LabelPredictions:
        probabilities = np.asarray(outputs["probabilities"])
        return LabelPredictions(self.feature.classes, probabilities.argmax(axis=1), probabilities)


class LabelsEncoder(Encoder):
    """One float32 per class, 1 if the row belongs to it. Decodes `probabilities` (rows, classes), with thresholds of 1/2
    unless `thresholds` (classes,) are among the outputs."""

    key = "labels"
    outputs = frozenset({"probabilities"})
    follows = True
    feature: Labels

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: np.asarray(column, dtype=np.float32)}

    @property
    def spec(self) -> dict[str, Any]:
        count = len(self.feature.classes)
        return {"target": self.feature.kind, "num_outputs": count, "num_classes": count, "target_std": 1.0}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> LabelsPredictions:
        probabilities = np.asarray(outputs["probabilities"])
        thresholds = np.asarray(outputs.get("thresholds", np.full(probabilities.shape[1], 0.5)))
        return LabelsPredictions(self.feature.classes, probabilities, thresholds)


class ValueEncoder(Encoder):
    """Values standardized by the moments of the training rows, (rows,) float32. Decodes `values` (rows,) back to the target's unit."""

    key = "labels"
    outputs = frozenset({"values"})
    feature: Value
    mean, std = 0.0, 1.0

    def fit(self, column: Any) -> None:
        self.mean, self.std = float(np.mean(column)), float(nonzero(deviation(column)))

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: ((np.asarray(column) - self.mean) / self.std).astype(np.float32)}

    @property
    def spec(self) -> dict[str, Any]:
        return {"target": self.feature.kind, "num_outputs": 1, "target_std": self.std}

    @property
    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.std = state["mean"], state["std"]

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> ValuePredictions:
        return ValuePredictions(np.asarray(outputs["values"]).astype(np.float64) * self.std + self.mean)


class ValuesEncoder(Encoder):
    """Several values, each standardized by the moments of the training rows, (rows, values) float32. Decodes `values` (rows, values) back to
    the units of the targets."""

    key = "labels"
    outputs = frozenset({"values"})
    feature: Values

    def fit(self, column: Any) -> None:
        self.mean, self.std = np.mean(column, axis=0), nonzero(deviation(column))

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: ((np.asarray(column) - self.mean) / self.std).astype(np.float32)}

    @property
    def spec(self) -> dict[str, Any]:
        return {"target": self.feature.kind, "num_outputs": len(self.feature.names), "target_std": 1.0}

    @property
    def state(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.std = np.asarray(state["mean"]), np.asarray(state["std"])

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> SeveralValuesPredictions:
        values = np.asarray(outputs["values"]).astype(np.float64) * self.std + self.mean
        return SeveralValuesPredictions(self.feature.names, values)
