"""Encoder of points in images, relative to the network input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image, Points
from mlrun.data.predictions import PointsPredictions
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.images import ImageEncoder

if TYPE_CHECKING:
    from mlrun.data.augment.motion import Part
    from mlrun.data.examples import Examples


class PointsEncoder(Encoder):
    """`points` (rows, points, 2) float32: x and y from 0 to 1 across the network input, NaN where a point is not visible.

    Decodes `points` of the same form to pixels of the original images. The spec has `mean_shape`, the mean of each training point, from
    which a network can start.
    """

    key = "points"
    outputs = frozenset({"points"})
    follows = True
    feature: Points
    mean_shape: list[list[float]] = []

    def _image(self) -> tuple[str, ImageEncoder]:
        name, encoder = next((n, e) for n, e in self.inputs.items() if isinstance(e.feature, Image))
        assert isinstance(encoder, ImageEncoder)
        return name, encoder

    def _unit(self, examples: Examples | None) -> np.ndarray:
        """(rows, 1, 2): pixels of the original image per unit."""
        name, encoder = self._image()
        assert examples is not None
        height, width = encoder.spec["input_shape"][1:]
        return (np.array([width, height]) / encoder.zoom(examples[name]))[:, None]

    def prepare(self, train: Examples) -> None:
        points = self.encode(train[self.name], train)[self.key].astype(np.float64)
        known = ~np.isnan(points)
        mean = np.where(known, points, 0).sum(0) / np.maximum(known.sum(0), 1)
        self.mean_shape = np.where(known.any(0), mean, 0.5).tolist()

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: (np.asarray(column) / self._unit(examples)).astype(np.float32)}

    @property
    def spec(self) -> dict[str, Any]:
        count = len(self.feature.names)
        return {
            "target": self.feature.kind,
            "num_outputs": 2 * count,
            "num_points": count,
            "mean_shape": self.mean_shape,
        }

    @property
    def state(self) -> dict[str, Any]:
        return {"mean_shape": self.mean_shape}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean_shape = state["mean_shape"]

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> PointsPredictions:
        return PointsPredictions(self.feature.names, np.asarray(outputs["points"]) * self._unit(examples))

    def follow(self, batch: dict[str, Any], parts: Sequence[Part]) -> None:
        import torch

        from mlrun.data.augment.motion import moved_points

        (part,) = parts
        points = batch[self.key]
        height, width = self._image()[1].spec["input_shape"][1:]
        size = torch.tensor([float(width), float(height)])
        moved = moved_points(points.cpu() * size, part.matrix) / size
        if self.feature.mirrored is not None:
            mirrored = torch.linalg.det(part.matrix[:, :, :2]) < 0
            moved = torch.where(mirrored[:, None, None], moved[:, self.feature.mirrored], moved)
        outside = ((moved < 0) | (moved > 1)).any(2, keepdim=True)
        batch[self.key] = moved.masked_fill(outside, torch.nan).to(points.device)
