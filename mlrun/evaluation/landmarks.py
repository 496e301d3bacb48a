"""Evaluator of points: distances relative to the size of what they lie on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Image, Points
from mlrun.data.predictions import PointsPredictions
from mlrun.data.readers.images import sizes_of
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

FAILURE = 0.1  # mean normalized error from which an image counts as a failure


class Landmarks(Evaluator):
    """Of `PointsPredictions`: `normalized_error`, the mean distance of the visible points, relative to the diagonal of the box around an image's
    true points, or of the image where it has a single point by design; `failure_rate`, the share of images above FAILURE; at the end also `mean_shape_error`, that of always predicting the mean of
    the training points."""

    metrics = {"normalized_error": Better.SMALLER, "failure_rate": Better.SMALLER, "mean_shape_error": Better.NEITHER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Points)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._truth: list[np.ndarray] = []
        self._found: list[np.ndarray] = []
        self._image = next(
            (name for name in subject.data.inputs if isinstance(subject.data.features[name], Image)), None
        )
        self._sizes: list[np.ndarray] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: PointsPredictions) -> None:
        self._truth.append(np.asarray(examples[self._name], dtype=np.float64))
        self._found.append(predictions.points)
        if len(predictions.names) == 1 and self._image is not None:
            self._sizes.append(sizes_of(examples[self._image]))

    def compute(self) -> dict[str, float]:
        truth, found = np.concatenate(self._truth), np.concatenate(self._found)
        diagonals = np.linalg.norm(np.concatenate(self._sizes), axis=1) if self._sizes else None
        errors = normalized_errors(found, truth, diagonals)
        known = errors[~np.isnan(errors)]
        measured = {"normalized_error": _mean(known), "failure_rate": _mean(known > FAILURE)}
        if not self.subject.in_training:
            train = self.subject.data.examples("train")
            if len(train):
                points = np.asarray(train[self._name], dtype=np.float64)
                visible = ~np.isnan(points)
                mean = np.where(visible, points, 0.0).sum(0) / np.maximum(visible.sum(0), 1)
                errors = normalized_errors(mean[None], truth, diagonals)
                measured["mean_shape_error"] = _mean(errors[~np.isnan(errors)])
        return measured


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def normalized_errors(points: np.ndarray, truth: np.ndarray, diagonals: np.ndarray | None = None) -> np.ndarray:
    """(rows,) mean distances of the visible points relative to the diagonal of the box around them; NaN where fewer than two are visible.

    Args:
        points, truth: (rows, points, 2); NaN in `truth` for a point that is not visible.
        diagonals: (rows,) lengths relative to which the distances are given instead; NaN then where no point is visible.
    """
    visible = ~np.isnan(truth).any(2)
    low = np.where(visible[..., None], truth, np.inf).min(1)
    high = np.where(visible[..., None], truth, -np.inf).max(1)
    enough = visible.sum(1) >= 2
    diagonal = np.where(enough, np.linalg.norm(np.where(enough[:, None], high - low, 1.0), axis=1), np.nan)
    if diagonals is not None:
        diagonal = np.where(visible.any(1), diagonals, np.nan)
    distances = np.where(visible, np.linalg.norm(points - np.where(visible[..., None], truth, 0.0), axis=2), 0.0)
    return distances.sum(1) / np.maximum(visible.sum(1), 1) / np.where(diagonal > 0, diagonal, np.nan)
