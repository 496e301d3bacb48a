"""Evaluator of several predicted values per row: R^2 over all of them, error and R^2 of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Values
from mlrun.data.predictions import SeveralValuesPredictions
from mlrun.evaluation.classification import metric_names
from mlrun.evaluation.evaluator import Better, Evaluator, Subject
from mlrun.evaluation.metrics import regression

LISTED = 20  # most targets that are measured one by one


class SeveralValues(Evaluator):
    """Of `SeveralValuesPredictions`: `r2`, the mean over the targets, and `rmse_TARGET` and `r2_TARGET` of up to LISTED targets.

    `r2` does not depend on the units of the targets. It is about 0 for a model that always predicts the means of the training rows.
    """

    metrics = {"r2": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Values)

    def prepare(self, target: Feature | None) -> None:
        assert isinstance(target, Values)
        self._listed = target.names if len(target.names) <= LISTED else []
        self._names = {metric: metric_names(metric, self._listed) for metric in ("rmse", "r2")}
        self.metrics = {
            **type(self).metrics,
            **dict.fromkeys(self._names["rmse"], Better.SMALLER),
            **dict.fromkeys(self._names["r2"], Better.LARGER),
        }

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: SeveralValuesPredictions) -> None:
        self._parts.append((np.asarray(examples[self._name]), predictions.values))

    def compute(self) -> dict[str, float]:
        truth, predicted = (np.concatenate(values) for values in zip(*self._parts))
        measured = [regression(true, one) for true, one in zip(truth.T, predicted.T)]
        found = {"r2": float(np.mean([one["r2"] for one in measured]))}
        for metric, names in self._names.items():
            found |= {name: one[metric] for name, one in zip(names, measured)}
        return found
