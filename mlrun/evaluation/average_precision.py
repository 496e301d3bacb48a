"""Average precision of boxes as COCO computes it, by faster-coco-eval."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlrun.data.predictions import BoxesPredictions

THRESHOLDS = 10  # intersections over union from .50 to .95


@dataclass
class AveragePrecision:
    """Precision (10 thresholds of IoU, 101 recalls, classes), and recall (10, classes) of at most 100 boxes per image; NaN for classes without
    a true box.

    Args:
        precision, recall: see above.
        recalls: (101,) at which the precision is known.
    """

    precision: np.ndarray
    recall: np.ndarray
    recalls: np.ndarray

    @property
    def of_classes(self) -> np.ndarray:
        """(10, classes)."""
        return self.precision.mean(1)

    @property
    def ap50(self) -> float:
        """At an IoU of .5, mean over the classes."""
        return _mean(self.of_classes[0])

    @property
    def ap75(self) -> float:
        """At an IoU of .75."""
        return _mean(self.of_classes[5])

    @property
    def ap(self) -> float:
        """Mean over IoU from .50 to .95."""
        return _mean(self.of_classes)

    @property
    def recall50(self) -> float:
        """At an IoU of .5, mean over the classes."""
        return _mean(self.recall[0])


def average_precision(truth: Sequence[Mapping[str, np.ndarray]], predictions: BoxesPredictions) -> AveragePrecision:
    """Of predicted boxes. truth: the column of a `Boxes` feature, in the same order. A box that lies in an ignored place of its class counts neither
    as right nor as wrong, as in a crowd of COCO."""
    from faster_coco_eval import COCO, COCOeval_faster

    classes, images = range(len(predictions.classes)), range(len(truth))
    annotations: list[dict[str, Any]] = []
    for image, one in enumerate(truth):
        for is_crowd, prefix in enumerate(("", "ignored_")):
            for box, label in zip(one.get(f"{prefix}boxes", ()), one.get(f"{prefix}labels", ())):
                sides = _sides(box)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": int(label),
                        "bbox": sides,
                        "area": sides[2] * sides[3],
                        "iscrowd": is_crowd,
                    }
                )
    found = [
        {"image_id": image, "category_id": int(label), "bbox": _sides(box), "score": float(score)}
        for image in images
        for box, label, score in zip(predictions.boxes[image], predictions.labels[image], predictions.scores[image])
    ]
    objects = [one["category_id"] for one in annotations if not one["iscrowd"]]
    if not objects or not found:
        occurs = np.bincount(objects, minlength=len(classes)) > 0
        nothing = np.where(occurs, 0.0, np.nan)
        return AveragePrecision(
            np.tile(nothing, (THRESHOLDS, 101, 1)), np.tile(nothing, (THRESHOLDS, 1)), np.linspace(0, 1, 101)
        )
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(
            {
                "images": [{"id": image} for image in images],
                "categories": [{"id": at, "name": str(at)} for at in classes],
                "annotations": annotations,
            }
        )
        evaluation = COCOeval_faster(known, known.loadRes(found), "bbox", print_function=lambda *text: None)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = (np.asarray(evaluation.eval[name], dtype=np.float64) for name in ("precision", "recall"))
    precision, recall = precision[..., 0, 0], recall[..., 0, 0]
    return AveragePrecision(
        np.where(precision < 0, np.nan, precision),
        np.where(recall < 0, np.nan, recall),
        np.asarray(evaluation.params.recThrs, dtype=np.float64),
    )


def _sides(box: np.ndarray) -> list[float]:
    left, top, right, bottom = (float(side) for side in box)
    return [left, top, right - left, bottom - top]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
