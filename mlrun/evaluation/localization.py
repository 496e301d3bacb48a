"""Evaluator of images with one object: is its class right, and where is it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Boxes, Feature
from mlrun.data.predictions import BoxesPredictions, overlap
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Localization(Evaluator):
    """Of `BoxesPredictions` with one box per image: `iou`, the mean over the images; `accuracy` of the class; `localized`, the share of images
    with the right class and an IoU of at least .5."""

    metrics = {"iou": Better.LARGER, "accuracy": Better.LARGER, "localized": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Boxes)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._found: list[tuple[float, bool]] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: BoxesPredictions) -> None:
        for truth, boxes, labels in zip(examples[self._name], predictions.boxes, predictions.labels):
            self._found.append((float(overlap(boxes[:1], truth["boxes"])[0, 0]), bool(labels[0] == truth["labels"][0])))

    def compute(self) -> dict[str, float]:
        iou, right = (np.array(values) for values in zip(*self._found))
        return {
            "iou": float(iou.mean()),
            "accuracy": float(right.mean()),
            "localized": float((right & (iou >= 0.5)).mean()),
        }
