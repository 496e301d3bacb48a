"""Prediction kinds: the output of models, the counterpart of the feature kinds.

A prediction object holds the predictions of many rows by column, because a file has millions of rows: `row(i)` is one prediction as JSON
types, `columns()` all of them as table columns, `answers()` the return value of `mlflow.pyfunc`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np

from mlrun.data.run_lengths import run_lengths

P = TypeVar("P", bound="Predictions")

SURE = 0.3  # score from which a predicted box counts when mistakes are counted or drawn


@dataclass
class Predictions(ABC):
    """Base of all kinds. Fields listed in `shared` are the same for all rows; every other field has one entry per row, or is None.

    A new kind needs the fields and `row`; the other methods have row-wise defaults.
    """

    kind: ClassVar[str]
    shared: ClassVar[tuple[str, ...]] = ()

    @property
    def is_nested(self) -> bool:
        """Whether a row holds lists or dicts, which do not fit in table cells."""
        return len(self) > 0 and any(isinstance(value, (list, dict)) for value in self.row(0).values())

    def __len__(self) -> int:
        return next(len(getattr(self, name)) for name in self._by_row() if getattr(self, name) is not None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.row(row) for row in range(len(self)))

    @abstractmethod
    def row(self, row: int) -> dict[str, Any]:
        """One prediction as JSON types."""

    def columns(self) -> dict[str, Any]:
        """Name -> (rows,) values of a table column; nested values become JSON text."""
        rows = list(self)
        return {
            name: [
                json.dumps(row[name], ensure_ascii=False) if isinstance(row[name], (dict, list)) else row[name]
                for row in rows
            ]
            for name in (rows[0] if rows else ())
        }

    def answers(self) -> Any:
        """(rows,) response of a service: one value per row, or a dict if a row has several."""
        return [next(iter(row.values())) if len(row) == 1 else row for row in self]

    def mistakes(self, truth: Any) -> np.ndarray:
        """(rows,) float: the error of each prediction, 0 if it is correct. truth: the column of the target."""
        raise NotImplementedError(f"{type(self).__name__} cannot be compared with a ground truth")

    def confidence(self) -> np.ndarray | None:
        """(rows,) confidence of each prediction from 0 to 1; None if the model has none."""
        return None

    def take(self: P, rows: np.ndarray) -> P:
        """A subset of the rows, in this order."""
        return self._with(
            lambda values: [values[int(row)] for row in rows] if isinstance(values, list) else values[rows]
        )

    def concatenate(self: P, others: Sequence[P]) -> P:
        """These rows followed by those of others of the same kind."""
        if not others:
            return self
        parts = [self, *others]
        joined = {
            name: _concatenate([getattr(part, name) for part in parts])
            for name in self._by_row()
            if getattr(self, name) is not None
        }
        return type(self)(**{f.name: joined.get(f.name, getattr(self, f.name)) for f in fields(self)})

    def _by_row(self) -> list[str]:
        return [f.name for f in fields(self) if f.name not in self.shared]

    def _with(self: P, change: Callable[[Any], Any]) -> P:
        changed = {name: change(getattr(self, name)) for name in self._by_row() if getattr(self, name) is not None}
        return type(self)(**{f.name: changed.get(f.name, getattr(self, f.name)) for f in fields(self)})


@dataclass
class LabelPredictions(Predictions):
    """One class per row.

    classes: original values of the classes. indices: (rows,) int64, predicted classes. probabilities: (rows, classes), or None.
    """

    kind: ClassVar[str] = "label"
    shared: ClassVar[tuple[str, ...]] = ("classes",)
    classes: list[Any]
    indices: np.ndarray
    probabilities: np.ndarray | None = None

    def row(self, row: int) -> dict[str, Any]:
        answer: dict[str, Any] = {"prediction": self.classes[int(self.indices[row])]}
        if self.probabilities is not None:
            answer |= {f"probability_{name}": float(p) for name, p in zip(self.classes, self.probabilities[row])}
        return answer

    def columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {"prediction": self.answers()}
        if self.probabilities is not None:
            shares = np.asarray(self.probabilities, dtype=np.float32)
            columns |= {
                f"probability_{name}": np.ascontiguousarray(shares[:, at]) for at, name in enumerate(self.classes)
            }
        return columns

    def answers(self) -> np.ndarray:
        return np.asarray(self.classes)[self.indices]

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return (self.indices != truth).astype(np.float64)

    def confidence(self) -> np.ndarray | None:
        return None if self.probabilities is None else self.probabilities[np.arange(len(self)), self.indices]


@dataclass
class LabelsPredictions(Predictions):
    """Any number of classes per row: those whose probability reaches their threshold.

    probabilities: (rows, classes). thresholds: (classes,).
    """

    kind: ClassVar[str] = "labels"
    shared: ClassVar[tuple[str, ...]] = ("classes", "thresholds")
    classes: list[str]
    probabilities: np.ndarray
    thresholds: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(rows, classes) bool."""
        return self.probabilities >= self.thresholds

    def row(self, row: int) -> dict[str, Any]:
        present = self.probabilities[row] >= self.thresholds
        return {
            "prediction": [name for name, there in zip(self.classes, present) if there],
            **{f"probability_{name}": float(p) for name, p in zip(self.classes, self.probabilities[row])},
        }

    def answers(self) -> list[list[str]]:
        return [[name for name, there in zip(self.classes, row) if there] for row in self.present]

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return (self.present != np.asarray(truth, dtype=bool)).mean(axis=1)

    def confidence(self) -> np.ndarray:
        """The mean over the classes of the probability of the decision."""
        return np.where(self.present, self.probabilities, 1 - self.probabilities).mean(axis=1)


@dataclass
class ValuePredictions(Predictions):
    """One number per row, in the target's unit: (rows,) float64."""

    kind: ClassVar[str] = "value"
    values: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": float(self.values[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.values}

    def answers(self) -> np.ndarray:
        return self.values

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return np.abs(self.values - truth)


@dataclass
class VectorPredictions(Predictions):
    """Codes, coordinates or embeddings: (rows, ...) numbers."""

    kind: ClassVar[str] = "vector"
    values: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {f"value_{at + 1}": float(value) for at, value in enumerate(np.ravel(self.values[row]))}

    def columns(self) -> dict[str, Any]:
        flat = self.values.reshape(len(self.values), -1)
        return {f"value_{at + 1}": np.ascontiguousarray(flat[:, at]) for at in range(flat.shape[1])}

    def answers(self) -> np.ndarray:
        return self.values


@dataclass
class GroupPredictions(Predictions):
    """The cluster of each row: (rows,) integers."""

    kind: ClassVar[str] = "group"
    groups: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": int(self.groups[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.groups}

    def answers(self) -> np.ndarray:
        return self.groups


@dataclass
class AnomalyPredictions(Predictions):
    """Scores of an anomaly detector, higher for stranger rows: scores (rows,) float64, is_anomaly (rows,) bool.

    normal: index of the class that the detector was fitted to.
    """

    kind: ClassVar[str] = "anomaly"
    shared: ClassVar[tuple[str, ...]] = ("normal",)
    normal: int
    scores: np.ndarray
    is_anomaly: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": self.answers()[row], "score": float(self.scores[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.answers(), "score": self.scores}

    def answers(self) -> np.ndarray:
        return np.where(self.is_anomaly, "anomaly", "normal")

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        return (self.is_anomaly != (truth != self.normal)).astype(np.float64)


@dataclass
class ScorePredictions(Predictions):
    """A number per row that is no estimate of a target, such as a discriminator's score: (rows,)."""

    kind: ClassVar[str] = "score"
    scores: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": float(self.scores[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.scores}

    def answers(self) -> np.ndarray:
        return self.scores


@dataclass
class TextPredictions(Predictions):
    """A text per row. scores: (rows,) log-probabilities that the decoder ranked them by, or None. lowercase: the model knows no capital
    letters, and references are compared in lower case."""

    kind: ClassVar[str] = "text"
    shared: ClassVar[tuple[str, ...]] = ("lowercase",)
    texts: list[str]
    scores: np.ndarray | None = None
    lowercase: bool = False

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": self.texts[row]}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.texts}

    def answers(self) -> np.ndarray:
        answers = np.empty(len(self.texts), dtype=object)
        answers[:] = self.texts
        return answers

    def references(self, truth: Sequence[str | list[str]]) -> list[list[str]]:
        """The references of each row, normalized for comparison with its text. truth: one or several per row."""
        several = [[one] if isinstance(one, str) else list(one) for one in truth]
        return [[one.lower() for one in row] for row in several] if self.lowercase else several

    def mistakes(self, truth: Sequence[str | list[str]]) -> np.ndarray:
        """1 if the text equals none of its references, ignoring white space."""
        pairs = zip(self.texts, self.references(truth))
        return np.array(
            [" ".join(text.split()) not in {" ".join(one.split()) for one in expected} for text, expected in pairs],
            dtype=np.float64,
        )


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
        count = len(self.boxes[row]) + len(true["boxes"])
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
class SpanPredictions(Predictions):
    """A span of a text per row: (rows, 2) first character and the one after the last, -1 if there is none; its text; (rows,) probabilities."""

    kind: ClassVar[str] = "span"
    spans: np.ndarray
    texts: list[str]
    probabilities: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        start, end = (int(place) for place in self.spans[row])
        return {
            "prediction": self.texts[row],
            "start": start,
            "end": end,
            "probability": float(self.probabilities[row]),
        }

    def mistakes(self, truth: np.ndarray) -> np.ndarray:
        """1 - F1 of the characters."""
        truth = np.asarray(truth)
        shared = np.minimum(self.spans[:, 1], truth[:, 1]) - np.maximum(self.spans[:, 0], truth[:, 0])
        lengths = (self.spans[:, 1] - self.spans[:, 0]) + (truth[:, 1] - truth[:, 0])
        neither = (self.spans[:, 0] < 0) & (truth[:, 0] < 0)
        return np.where(neither, 0.0, 1 - 2 * np.maximum(shared, 0) / np.maximum(lengths, 1))

    def confidence(self) -> np.ndarray:
        return self.probabilities


@dataclass
class TagsPredictions(Predictions):
    """A class for each token of a text: per row the tokens and the indices of their tags."""

    kind: ClassVar[str] = "tags"
    shared: ClassVar[tuple[str, ...]] = ("classes",)
    classes: list[str]
    tokens: list[list[str]]
    tags: list[np.ndarray]

    def row(self, row: int) -> dict[str, Any]:
        pairs = zip(self.tokens[row], self.tags[row])
        return {"prediction": [[token, self.classes[int(tag)]] for token, tag in pairs]}

    def mistakes(self, truth: Sequence[np.ndarray]) -> np.ndarray:
        """The fraction of tokens with a wrong tag."""
        return np.array([float(np.mean(tags != true)) if len(true) else 0.0 for tags, true in zip(self.tags, truth)])


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
        """The mean distance in pixels of the visible points."""
        return np.nan_to_num(np.nanmean(np.linalg.norm(self.points - truth, axis=2), axis=1))


@dataclass
class PicturePredictions(Predictions):
    """An image per row: (rows, channels, height, width) from 0 to 1."""

    kind: ClassVar[str] = "picture"
    pixels: np.ndarray

    def row(self, row: int) -> dict[str, Any]:
        return {f"value_{at + 1}": float(value) for at, value in enumerate(np.ravel(self.pixels[row]))}

    def answers(self) -> np.ndarray:
        return self.pixels


@dataclass
class ActionPredictions(Predictions):
    """The action of a policy: (rows,) integers. scores: (rows, actions), or None."""

    kind: ClassVar[str] = "action"
    actions: np.ndarray
    scores: np.ndarray | None = None

    def row(self, row: int) -> dict[str, Any]:
        return {"prediction": int(self.actions[row])}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.actions}

    def answers(self) -> np.ndarray:
        return self.actions


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4), left, top, right, bottom -> (n, m)."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(opposite - corner, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def _concatenate(parts: list[Any]) -> Any:
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return np.concatenate(parts)
