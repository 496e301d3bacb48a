"""Encoder of boxes in images, in pixels of the network input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Boxes, Image, shape_of
from mlrun.data.predictions import BoxesPredictions
from mlrun.data.preprocess.encoder import Encoder

if TYPE_CHECKING:
    from mlrun.data.examples import Examples


class BoxesEncoder(Encoder):
    """Lists of `boxes` (objects, 4) float32 and `labels` (objects,) int64, one entry per image.

    Decodes lists of `boxes`, `labels` and `scores` back to pixels of the original images, the most certain object first.
    """

    key, further_keys = "boxes", ("labels",)
    outputs = frozenset({"boxes", "labels", "scores"})
    feature: Boxes

    @property
    def _zoom(self) -> np.ndarray:
        """(4,): pixels of the network input per pixel of the original image, for x, y, x, y."""
        encoder = next(encoder for encoder in self.inputs.values() if isinstance(encoder.feature, Image))
        height, width = encoder.spec["input_shape"][1:]
        _, original_height, original_width = shape_of(encoder.feature)
        return np.array([width / original_width, height / original_height] * 2, dtype=np.float32)

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        zoom = self._zoom
        return {
            "boxes": [np.asarray(one["boxes"], dtype=np.float32).reshape(-1, 4) * zoom for one in column],
            "labels": [np.asarray(one["labels"], dtype=np.int64) for one in column],
        }

    @property
    def spec(self) -> dict[str, Any]:
        return {"target": self.feature.kind, "num_classes": len(self.feature.classes)}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> BoxesPredictions:
        orders = [np.argsort(-np.asarray(scores), kind="stable") for scores in outputs["scores"]]
        boxes, labels, scores = (
            [np.asarray(one)[order] for one, order in zip(outputs[name], orders)]
            for name in ("boxes", "labels", "scores")
        )
        return BoxesPredictions(
            self.feature.classes, [one.reshape(-1, 4) / self._zoom for one in boxes], labels, scores
        )
