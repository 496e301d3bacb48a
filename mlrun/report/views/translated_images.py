"""Unpaired translation of images between two domains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlrun.data.datasets.unpaired import Unpaired
from mlrun.evaluation.image_translation import ImageTranslation
from mlrun.report.captions import explained
from mlrun.report.frames import Frames
from mlrun.report.samples import grid

if TYPE_CHECKING:
    from PIL.Image import Image

    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner

SHOWN, COLUMNS = 10, 12  # images of each domain in a picture, and in a figure of the finished model


class TranslatedImages(Frames):
    """Of a `CycleGAN` task: the same images of both domains, translated every few epochs; at the end images, their translations, and the
    reconstructions."""

    prefix, pictures = "translations", 8

    def shown(self, task: Any) -> Tensor:
        """Pixels (4, images, channels, height, width): of A, in B, of B, in A."""
        a, b = task.data.domains("val" if task.data.sizes["val"] else "train")
        rows = [*task.translate(a.x[:SHOWN], "B"), *task.translate(b.x[:SHOWN], "A")]
        count = min(map(len, rows))
        return torch.stack([torch.from_numpy(row[:count]) for row in rows])

    def picture(self, task: Any, data: DataModule, shown: Tensor) -> Image:
        first, second = data.names if isinstance(data, Unpaired) else ("A", "B")
        rows = f"Rows: {first} and its translation to {second}, {second} and its translation to {first}."
        return explained(grid(shown.flatten(0, 1).numpy(), columns=shown.shape[1]), rows)

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.images import image_rows

        measured = evaluation.evaluators.get("ImageTranslation")
        if isinstance(measured, ImageTranslation) and isinstance(data, Unpaired):
            for letter, other, name, other_name in (("A", "B", *data.names), ("B", "A", *reversed(data.names))):
                rows = [pixels[:COLUMNS] for pixels in measured.images[letter]]
                names = [name, f"to {other_name}", "and back"]
                yield f"{letter}_to_{other}", image_rows(rows, names, f"From {name} to {other_name}")
        yield from self.film(learner.task, data)
