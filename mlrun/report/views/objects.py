"""Predicted boxes: images with the worst mistakes first, precision and recall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image
from mlrun.data.module import DataModule
from mlrun.data.predictions import SURE, BoxesPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner


class Objects(View):
    """Of `BoxesPredictions`: `objects`, some images of the part; `worst_objects`, those with the lowest F1; `precision_recall` at an IoU of .5."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.scenes import SHOWN, picture_grid, precision_recall

        found = evaluation.predictions
        image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
        if not isinstance(found, BoxesPredictions) or image is None or evaluation.examples is None:
            return
        sure = found.above(SURE)
        f1 = 1 - sure.mistakes(evaluation.examples[data.targets[0]])
        worst = np.argsort(f1, kind="stable")[:SHOWN]
        for name, rows, title in (
            ("objects", np.arange(min(SHOWN, len(f1))), "Predicted boxes (true ones: dashed)"),
            ("worst_objects", worst, "The worst images (true boxes: dashed)"),
        ):
            captions = [f"F1 {f1[row]:.2f}" for row in rows]
            yield (
                name,
                picture_grid([picture(evaluation, data, sure, image, int(row)) for row in rows], captions, title),
            )
        measured: Any = evaluation.evaluators.get("Detection")
        if measured is not None and not np.isnan(measured.curves.precision[0]).all():  # there are objects to find
            curves = measured.curves
            title = "Precision and recall at an IoU of .5"
            yield "precision_recall", precision_recall(curves.precision[0], curves.recalls, found.classes, title)


def picture(evaluation: Evaluation, data: DataModule, found: BoxesPredictions, image: str, row: int) -> Any:
    """The image of a row with its predicted and true boxes."""
    from mlrun.report.drawing import drawn_objects

    example = evaluation.examples[row] if evaluation.examples is not None else {}
    boxes, labels, scores, truth = found.boxes[row], found.labels[row], found.scores[row], example[data.targets[0]]
    return drawn_objects(example[image], boxes, labels, scores, found.classes, truth, reduced=True)
