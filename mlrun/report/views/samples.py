"""Samples of a generative model, during training and next to their nearest training rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.evaluation import fidelity
from mlrun.evaluation.resemblance import Resemblance
from mlrun.report.captions import explained
from mlrun.report.frames import Frames
from mlrun.report.samples import grid, picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner

SEED = 1  # of the noise, the same for all pictures
COMPARED = 12  # samples shown next to their nearest training rows


class Samples(Frames):
    """Of a `Generation` task, always from the same noise.

    Args:
        images: number of images in a picture.
        points: number of rows in a picture of other data.
    """

    part = ""

    def __init__(self, images: int = 64, points: int = 2000):
        super().__init__()
        self.images, self.points = images, points

    def shown(self, task: Any) -> Tensor:
        return task.preview(self.images if task.makes_images else self.points, SEED)

    def picture(self, task: Any, data: DataModule, shown: Tensor) -> Image | None:
        return picture(task, data, shown)

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        task, measured = learner.task, evaluation.evaluators.get("Resemblance")
        samples = self.picture(task, data, self.shown(task))
        if samples is not None:
            yield "samples", samples
        if task.makes_images and isinstance(measured, Resemblance):
            made, known = measured.samples[:COMPARED], measured.training_rows
            _, rows = fidelity.nearest(made.reshape(len(made), -1), known.reshape(len(known), -1))
            side_by_side = grid(np.concatenate([made, known[rows]]), columns=len(rows))
            yield (
                "nearest_training_rows",
                explained(side_by_side, "First row: samples. Second row: the nearest training images."),
            )
        yield from self.film(task, data)
