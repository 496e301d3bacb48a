"""What is wrong with predicted boxes: kinds of errors (Hoiem, Chodpathumwan and Dai 2012, "Diagnosing error in object detectors")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlrun.data.predictions import SURE, BoxesPredictions, overlap
from mlrun.data.predictions.images import in_ignored

CORRECT, LOCALIZATION, CLASSIFICATION, DUPLICATE, BACKGROUND, MISSED = (
    "correct",
    "localization",
    "classification",
    "duplicate",
    "background",
    "missed",
)
KINDS = {
    CORRECT: "the right class on an object, IoU at least .5",
    LOCALIZATION: "the right class, but IoU with the object is only .1 to .5",
    CLASSIFICATION: "IoU at least .5 with an object of another class",
    DUPLICATE: "an object that a box with a higher score has already found",
    BACKGROUND: "no object there",
    MISSED: "an object without a correct box",
}
MATCH, TOUCH = 0.5, 0.1  # intersections over union


@dataclass
class Judged:
    """One predicted box, or one object that was missed.

    Args:
        image: row of its image.
        kind: a key of KINDS.
        box: (4,).
        predicted, true: classes; None for a missed object, or where there is no object.
        score: of the prediction, None for a missed object.
    """

    image: int
    kind: str
    box: np.ndarray
    predicted: int | None
    true: int | None
    score: float | None


def judge(
    truth: Sequence[Mapping[str, np.ndarray]], predictions: BoxesPredictions, least_score: float = SURE
) -> list[Judged]:
    """Every predicted box with at least this score, and every object that none of them finds. truth: the column of a `Boxes` feature."""
    judged: list[Judged] = []
    for image, objects in enumerate(truth):
        boxes, labels = np.asarray(objects["boxes"]).reshape(-1, 4), np.asarray(objects["labels"])
        taken = np.zeros(len(boxes), dtype=bool)
        left_out = in_ignored(predictions.boxes[image], predictions.labels[image], objects)
        for at in np.argsort(-predictions.scores[image], kind="stable"):
            if predictions.scores[image][at] < least_score or left_out[at]:
                continue
            box, label = predictions.boxes[image][at], int(predictions.labels[image][at])
            kind, of = _judged(box, label, boxes, labels, taken)
            if kind == CORRECT and of is not None:
                taken[of] = True
            true = None if of is None else int(labels[of])
            judged.append(Judged(image, kind, box, label, true, float(predictions.scores[image][at])))
        judged += [Judged(image, MISSED, boxes[at], None, int(labels[at]), None) for at in np.flatnonzero(~taken)]
    return judged


def _judged(
    box: np.ndarray, label: int, boxes: np.ndarray, labels: np.ndarray, taken: np.ndarray
) -> tuple[str, int | None]:
    """(kind, object that it is about)."""
    if not len(boxes):
        return BACKGROUND, None
    overlaps = overlap(np.asarray(box)[None], boxes)[0]
    same = np.where(labels == label, overlaps, -1.0)
    free = np.where(taken, -1.0, same)
    if free.max() >= MATCH:
        return CORRECT, int(free.argmax())
    if same.max() >= MATCH:
        return DUPLICATE, int(same.argmax())
    if overlaps.max() >= MATCH:
        return CLASSIFICATION, int(overlaps.argmax())
    if same.max() >= TOUCH:
        return LOCALIZATION, int(same.argmax())
    return BACKGROUND, None
