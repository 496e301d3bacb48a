"""Predicted points in images, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image
from mlrun.data.module import DataModule
from mlrun.data.predictions import PointsPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner


class Points(View):
    """Of `PointsPredictions`: `points`, some images of the part, and `worst_points`, those with the largest mean distance."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.drawing import drawn_points
        from mlrun.report.scenes import SHOWN, picture_grid

        found, examples = evaluation.predictions, evaluation.examples
        image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
        if not isinstance(found, PointsPredictions) or image is None or examples is None:
            return
        truth = examples[data.targets[0]]
        distance = found.mistakes(truth)
        for name, rows, title in (
            ("points", np.arange(min(SHOWN, len(distance))), "Predicted points (true ones: white crosses)"),
            (
                "worst_points",
                np.argsort(-distance, kind="stable")[:SHOWN],
                "The worst images (true points: white crosses)",
            ),
        ):
            pictures = [
                drawn_points(examples[int(row)][image], found.points[row], truth[row], reduced=True) for row in rows
            ]
            yield name, picture_grid(pictures, [f"{distance[row]:.2f} pixels" for row in rows], title)
