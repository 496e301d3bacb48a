"""What an image shows: boxes, masks, points; and images themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlrun.data.predictions.base import Predictions
from mlrun.data.run_lengths import run_lengths

SURE = 0.3  # score from which a predicted box counts when mistakes are counted or drawn


@dataclass
class BoxesPredictions(Predictions):
    """Objects in images by decreasing score: per row boxes (objects, 4) in pixels of the original image, labels and scores (objects,)."""

    kind: ClassVar[str] = "boxes"
    shared: ClassVar[tuple[str, ...]] = ("classes",)
    classes: list[str]
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    scores: list[np.ndarray]

    def row(self, row: int) -> dict[str, Any]:
        found = zip(self.boxes[row], self.labels[row], self.scores[row])
        return {
            "prediction": [
                {
                    "label": self.classes[int(label)],
                    "score": float(score),
                    "box": [round(float(side), 2) for side in box],
                }
                for box, label, score in found
            ]
        }

    def above(self, least_score: float) -> BoxesPredictions:
        """Only the objects with at least this score."""
        kept = [scores >= least_score for scores in self.scores]
        found = ([one[at] for one, at in zip(parts, kept)] for parts in (self.boxes, self.labels, self.scores))
        return BoxesPredictions(self.classes, *found)

    def mistakes(self, truth: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        """1 - F1 of the objects with a score of at least SURE, matched one to one at an intersection over union of at least 0.5."""
        sure = self.above(SURE)
        return np.array([1 - sure._f1(row, true) for row, true in enumerate(truth)])

    def _f1(self, row: int, true: dict[str, np.ndarray]) -> float:
        count = int((~in_ignored(self.boxes[row], self.labels[row], true)).sum()) + len(true["boxes"])
        if not count:
            return 1.0
        overlaps = overlap(self.boxes[row], true["boxes"]) * (self.labels[row][:, None] == true["labels"][None, :])
        free, hits = np.ones(len(true["boxes"]), dtype=bool), 0
        for box in np.argsort(-self.scores[row], kind="stable"):
            candidates = np.where(free, overlaps[box], 0.0)
            if len(candidates) and candidates.max() >= 0.5:
                free[candidates.argmax()] = False
                hits += 1
        return 2 * hits / count

    def confidence(self) -> np.ndarray:
        return np.array([scores.mean() if len(scores) else 0.0 for scores in self.scores])


@dataclass
class MaskPredictions(Predictions):
    """The class of each pixel: per row (height, width) indices at the size of the original image. A row has the mask in COCO's run lengths (down
    the columns, beginning with background), for each class that occurs but the first, and the number of pixels per class.

    void: the value of true masks whose pixels do not count, None if there is none.
    """

    kind: ClassVar[str] = "mask"
    shared: ClassVar[tuple[str, ...]] = ("classes", "void")
    classes: list[str]
    masks: list[np.ndarray] | np.ndarray
    void: int | None = None

    def row(self, row: int) -> dict[str, Any]:
        mask = np.asarray(self.masks[row])
        counts = np.bincount(np.ravel(mask), minlength=len(self.classes))
        return {
            "prediction": [
                {"label": name, "size": list(mask.shape), "counts": run_lengths(mask == at)}
                for at, name in enumerate(self.classes)
                if at and counts[at]
            ],
            **{f"pixels_{name}": int(count) for name, count in zip(self.classes, counts)},
        }

    def mistakes(self, truth: Sequence[np.ndarray]) -> np.ndarray:
        """The fraction of pixels with a wrong class."""
        return np.array([self._wrong(mask, np.asarray(true)) for mask, true in zip(self.masks, truth)])

    def _wrong(self, mask: np.ndarray, true: np.ndarray) -> float:
        counted = np.ones(true.shape, dtype=bool) if self.void is None else true != self.void
        return float(np.mean(mask[counted] != true[counted])) if counted.any() else 0.0


@dataclass
class PointsPredictions(Predictions):
    """Named points: (rows, points, 2), x and y in pixels of the original image."""

    kind: ClassVar[str] = "points"
    shared: ClassVar[tuple[str, ...]] = ("names",)
    names: list[str]
    points: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {
            f"{name}_{axis}": float(place)
            for name, point in zip(self.names, self.points[row])
            for axis, place in zip("xy", point)
        }

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        """The mean distance in pixels of the visible points; 0 without any."""
        distances = np.linalg.norm(self.points - truth, axis=2)
        visible = ~np.isnan(distances)
        return np.where(visible, distances, 0.0).sum(axis=1) / np.maximum(visible.sum(axis=1), 1)


@dataclass
class PicturePredictions(Predictions):
    """An image per row: (rows, channels, height, width) from 0 to 1."""

    kind: ClassVar[str] = "picture"
    pixels: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {f"value_{at + 1}": float(value) for at, value in enumerate(np.ravel(self.pixels[row]))}

    def answers(self) -> np.ndarray:
        return self.pixels


def in_ignored(boxes: np.ndarray, labels: np.ndarray, truth: Mapping[str, np.ndarray]) -> np.ndarray:
    """(objects,) bool: whether at least half of a predicted box lies in an ignored place of its class, and on no object of it. truth: an entry
    of the column of a `Boxes` feature."""
    within = np.zeros(len(boxes), dtype=bool)
    if not len(boxes) or "ignored_boxes" not in truth:
        return within
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    for place, label in zip(truth["ignored_boxes"], truth["ignored_labels"]):
        sides = np.minimum(boxes[:, 2:], place[2:]) - np.maximum(boxes[:, :2], place[:2])
        within |= (labels == label) & (np.prod(np.maximum(sides, 0), axis=1) >= 0.5 * area) & (area > 0)
    same = overlap(boxes, truth["boxes"]) * (labels[:, None] == truth["labels"][None, :])
    return within & ~(same >= 0.5).any(axis=1)


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4), left, top, right, bottom -> (n, m)."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(opposite - corner, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)
