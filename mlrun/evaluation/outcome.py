"""Predictions on some rows, for all problems of the kind "one answer per row"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlrun.evaluation import metrics as measures


@dataclass(frozen=True)
class Outcome:
    """What a supervised learner made of some rows.

    y, predicted: (rows,) class indices or values in the target's unit; probabilities: (rows, classes) or None.
    """

    problem: str
    y: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray | None = None
    num_classes: int = 0

    def metrics(self) -> dict[str, float]:
        if self.problem == "classification":
            return measures.classification(self.y, self.predicted, self.probabilities, self.num_classes)
        return measures.regression(self.y, self.predicted)
