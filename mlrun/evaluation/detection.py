"""Evaluator of boxes: average precision as in COCO, and kinds of errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.features import Boxes, Feature
from mlrun.data.predictions import BoxesPredictions
from mlrun.evaluation.average_precision import AveragePrecision, average_precision
from mlrun.evaluation.classification import metric_names
from mlrun.evaluation.detection_errors import CORRECT, KINDS, judge
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

LISTED = 20  # most classes whose average precision is reported one by one


class Detection(Evaluator):
    """Of `BoxesPredictions`: `AP50`, `AP75`, and `AP`, the mean over IoU from .50 to .95; `recall50`, the share of objects among at most 100 boxes
    per image; at the end also `AP50_CLASS` for up to LISTED classes."""

    metrics = {"AP50": Better.LARGER, "AP": Better.LARGER, "AP75": Better.LARGER, "recall50": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Boxes)

    def prepare(self, target: Feature | None) -> None:
        assert isinstance(target, Boxes)
        self.classes = target.classes
        names = target.classes if len(target.classes) <= LISTED else []
        self._listed = metric_names("AP50", names)
        self.metrics = {**type(self).metrics, **dict.fromkeys(self._listed, Better.LARGER)}

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self.truth: list[Mapping[str, Any]] = []
        self._parts: list[BoxesPredictions] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: BoxesPredictions) -> None:
        self.truth.extend(examples[self._name])
        self._parts.append(predictions)

    @property
    def predictions(self) -> BoxesPredictions:
        """Of all rows of the part, in the order of `truth`."""
        return self._parts[0].concatenate(self._parts[1:])

    def compute(self) -> dict[str, float]:
        self.curves: AveragePrecision = average_precision(self.truth, self.predictions)
        found = {
            "AP50": self.curves.ap50,
            "AP": self.curves.ap,
            "AP75": self.curves.ap75,
            "recall50": self.curves.recall50,
        }
        if self.subject.in_training:
            return found
        return {**found, **dict(zip(self._listed, map(float, self.curves.of_classes[0])))}

    def error_tables(self) -> dict[str, list[tuple[Any, ...]]]:
        judged = judge(self.truth, self.predictions)
        counts = Counter(one.kind for one in judged)
        kinds = [("kind", "boxes", "meaning"), *((kind, counts[kind], text) for kind, text in KINDS.items())]
        worst = sorted((one for one in judged if one.kind != CORRECT), key=lambda one: -(one.score or 0))
        boxes: list[tuple[Any, ...]] = [
            ("image", "kind", "predicted", "true", "score", "left", "top", "right", "bottom")
        ]
        for one in worst:
            names = ["" if label is None else self.classes[label] for label in (one.predicted, one.true)]
            sides = (round(float(side), 1) for side in one.box)
            boxes.append((one.image, one.kind, *names, None if one.score is None else round(one.score, 4), *sides))
        return {"kinds": kinds, "boxes": boxes}
