"""Encoder of boxes in images, in pixels of the network input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Boxes, Image
from mlrun.data.predictions import BoxesPredictions
from mlrun.data.preprocess.anchors import cluster_sizes
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.images import ImageEncoder
from mlrun.data.readers.images import sizes_of

if TYPE_CHECKING:
    from mlrun.data.augment.motion import Part
    from mlrun.data.examples import Examples


class BoxesEncoder(Encoder):
    """Lists of `boxes` (objects, 4) float32 and `labels` (objects,) int64, one entry per image.

    Decodes lists of `boxes`, `labels` and `scores` back to pixels of the original images, the most certain object first.

    Args:
        feature: the boxes.
        num_anchors: sizes of boxes that detectors start from, found by k-means on those of the training images; `anchors` of the spec.
    """

    key, further_keys = "boxes", ("labels",)
    outputs = frozenset({"boxes", "labels", "scores"})
    follows = follows_joined = True
    feature: Boxes

    def __init__(self, feature: Boxes, num_anchors: int = 5, **settings: Any):
        super().__init__(feature)
        self.num_anchors, self.anchors = num_anchors, np.zeros((0, 2))

    def prepare(self, train: Examples) -> None:
        boxes = np.concatenate(self.encode(train[self.name], train)["boxes"])
        self.anchors = cluster_sizes(boxes[:, 2:] - boxes[:, :2], self.num_anchors)

    def _zoom(self, examples: Examples | None) -> tuple[np.ndarray, np.ndarray]:
        """(rows, 4) pixels of the network input per pixel of the original image, for x, y, x, y; (rows, 2) heights and widths."""
        name, encoder = next((n, e) for n, e in self.inputs.items() if isinstance(e.feature, Image))
        assert isinstance(encoder, ImageEncoder) and examples is not None
        column = examples[name]
        return np.tile(encoder.zoom(column).astype(np.float32), 2), sizes_of(column)

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        zooms, _ = self._zoom(examples)
        return {
            "boxes": [
                np.asarray(one["boxes"], dtype=np.float32).reshape(-1, 4) * zoom for one, zoom in zip(column, zooms)
            ],
            "labels": [np.asarray(one["labels"], dtype=np.int64) for one in column],
        }

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "target": self.feature.kind,
            "num_classes": len(self.feature.classes),
            "num_outputs": len(self.feature.classes),
            "anchors": [[round(float(side), 2) for side in size] for size in self.anchors],
        }

    @property
    def state(self) -> dict[str, Any]:
        return {"anchors": self.anchors.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.anchors = np.array(state["anchors"], dtype=np.float64).reshape(-1, 2)

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> BoxesPredictions:
        orders = [np.argsort(-np.asarray(scores), kind="stable") for scores in outputs["scores"]]
        boxes, labels, scores = (
            [np.asarray(one)[order] for one, order in zip(outputs[name], orders)]
            for name in ("boxes", "labels", "scores")
        )
        zooms, sizes = self._zoom(examples)
        limits = np.tile(sizes[:, ::-1], 2).astype(np.float32)
        return BoxesPredictions(
            self.feature.classes,
            [(one.reshape(-1, 4) / zoom).clip(0, limit) for one, zoom, limit in zip(boxes, zooms, limits)],
            labels,
            scores,
        )

    def follow(self, batch: dict[str, Any], parts: Sequence[Part]) -> None:
        import torch

        from mlrun.data.augment.motion import moved_boxes, visible

        boxes, labels = batch["boxes"], batch["labels"]
        device = labels[0].device
        images, found = [], []
        for part in parts:
            sources = part.source.tolist()
            counts = torch.tensor([len(boxes[source]) for source in sources])
            image = torch.arange(len(sources)).repeat_interleave(counts)
            moved = moved_boxes(torch.cat([boxes[source] for source in sources]).cpu(), part.matrix[image])
            moved, stays = visible(moved, part.region[image])
            own = torch.cat([labels[source] for source in sources]).cpu()
            images.append(image[stays])
            found.append((moved[stays], own[stays]))
        image = torch.cat(images)
        order = image.argsort(stable=True)
        ends = image.bincount(minlength=len(boxes)).tolist()
        batch["boxes"] = list(torch.cat([one for one, _ in found])[order].to(device).split(ends))
        batch["labels"] = list(torch.cat([own for _, own in found])[order].to(device).split(ends))
