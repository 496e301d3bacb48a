"""Evaluator of several labels per row: average precision of the ranking, F1 of the decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Labels
from mlrun.data.predictions import LabelsPredictions
from mlrun.evaluation.classification import metric_names
from mlrun.evaluation.evaluator import Better, Evaluator, Subject
from mlrun.evaluation.metrics import average_precision

LISTED = 20  # most classes whose average precision is reported one by one


class MultiLabel(Evaluator):
    """Of `LabelsPredictions`: `map`, the mean over the classes of the average precision; `f1_micro` over all decisions, `f1_macro`, the mean over the
    classes; `exact_match`, the share of rows without any wrong decision; at the end also `average_precision_CLASS` for up to LISTED classes.

    Classes that no row of the part has, or all rows have, do not count in `map`.
    """

    metrics = {
        "map": Better.LARGER,
        "f1_micro": Better.LARGER,
        "f1_macro": Better.LARGER,
        "exact_match": Better.LARGER,
    }

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Labels)

    def prepare(self, target: Feature | None) -> None:
        assert isinstance(target, Labels)
        names = target.classes if len(target.classes) <= LISTED else []
        self._listed = metric_names("average_precision", names)
        self.metrics = {**type(self).metrics, **dict.fromkeys(self._listed, Better.LARGER)}

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._parts: list[tuple[np.ndarray, LabelsPredictions]] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: LabelsPredictions) -> None:
        self._parts.append((np.asarray(examples[self._name], dtype=bool), predictions))

    def compute(self) -> dict[str, float]:
        truth = np.concatenate([true for true, _ in self._parts])
        chances = np.concatenate([one.probabilities for _, one in self._parts])
        present = np.concatenate([one.present for _, one in self._parts])
        both: np.ndarray = np.asarray(truth.any(0) & ~truth.all(0))
        precision = np.array(
            [
                average_precision(true, chance) if some else np.nan
                for true, chance, some in zip(truth.T, chances.T, both)
            ]
        )
        hits, marked = (truth & present).sum(0), truth.sum(0) + present.sum(0)
        measured = {
            "map": float(np.nanmean(precision)) if both.any() else float("nan"),
            "f1_micro": float(2 * hits.sum() / max(1, marked.sum())),
            "f1_macro": float((2 * hits / np.maximum(marked, 1)).mean()),
            "exact_match": float((truth == present).all(1).mean()),
        }
        if self.subject.in_training:
            return measured
        return {**measured, **dict(zip(self._listed, map(float, precision)))}
