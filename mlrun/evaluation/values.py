"""What evaluators of predicted values share: they collect the true and the predicted ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Value
from mlrun.data.predictions import ValuePredictions
from mlrun.evaluation.evaluator import Evaluator, Subject


class ValueEvaluator(Evaluator):
    """Collects `ValuePredictions` and the values of the first target."""

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Value)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: ValuePredictions) -> None:
        self._parts.append((examples[self._name], predictions.values))

    def collected(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) true values and (rows,) predicted ones."""
        truth, predicted = (np.concatenate(values) for values in zip(*self._parts))
        return truth, predicted
