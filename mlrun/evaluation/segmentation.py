"""Evaluator of masks: intersection over union, Dice coefficient, accuracy of the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Mask
from mlrun.data.predictions import MaskPredictions
from mlrun.evaluation.classification import metric_names
from mlrun.evaluation.evaluator import Better, Evaluator, Subject
from mlrun.evaluation.metrics import confusion

LISTED = 20  # most classes whose intersection over union is reported one by one


class Segmentation(Evaluator):
    """Of `MaskPredictions`, in pixels of the original images; pixels of the void class do not count.

    `miou` and `dice` are means over the classes that occur in the truth or the predictions, each over all pixels of the part; `dice_foreground`
    leaves out the first class. At the end also `iou_CLASS` for up to LISTED classes.
    """

    metrics = {
        "miou": Better.LARGER,
        "dice": Better.LARGER,
        "dice_foreground": Better.LARGER,
        "pixel_accuracy": Better.LARGER,
    }

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Mask)

    def prepare(self, target: Feature | None) -> None:
        assert isinstance(target, Mask)
        self._classes, self._void = target.classes, target.void
        names = target.classes if len(target.classes) <= LISTED else []
        self._listed = metric_names("iou", names)
        self.metrics = {**type(self).metrics, **dict.fromkeys(self._listed, Better.LARGER)}

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self.confusion = np.zeros((len(self._classes),) * 2, dtype=np.int64)

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: MaskPredictions) -> None:
        for truth, mask in zip(examples[self._name], predictions.masks):
            counted = np.ones(mask.shape, dtype=bool) if self._void is None else truth != self._void
            self.confusion += confusion(
                truth[counted].astype(np.int64), mask[counted].astype(np.int64), len(self._classes)
            )

    def compute(self) -> dict[str, float]:
        table = self.confusion
        shared, sizes = np.diag(table), table.sum(0) + table.sum(1)
        occurs = sizes > 0
        iou = np.where(occurs, shared / np.maximum(sizes - shared, 1), np.nan)
        dice = np.where(occurs, 2 * shared / np.maximum(sizes, 1), np.nan)
        measured = {
            "miou": _mean(iou),
            "dice": _mean(dice),
            "dice_foreground": _mean(dice[1:]),
            "pixel_accuracy": float(shared.sum() / max(1, table.sum())),
        }
        if self.subject.in_training:
            return measured
        return {**measured, **dict(zip(self._listed, map(float, iou)))}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
