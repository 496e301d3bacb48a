"""Style transfer: the image during training, and the result at the size of the content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mlrun.report.frames import Frames

if TYPE_CHECKING:
    from PIL.Image import Image

    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner


class Stylized(Frames):
    """Of a `StyleTransfer` task: pictures of the epochs as a film, `stylized`, and `content_style_result` side by side."""

    prefix = "stylized"
    part = ""  # the data are the two pictures

    def shown(self, task: Any) -> Tensor:
        return task.pixels()

    def picture(self, task: Any, data: DataModule, shown: Tensor) -> Image | None:
        return _picture(shown[0].numpy())

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.scenes import picture_grid

        task = learner.task
        result = _picture(task.pixels()[0].numpy())
        yield "stylized", result
        example = data.examples("test")[0]
        pictures = [*(_picture(example[name] / 255) for name in ("content", "style")), result]
        yield (
            "content_style_result",
            picture_grid(pictures, ["content", "style", "result"], "Style transfer", columns=3),
        )
        yield from self.film(task, data)


def _picture(pixels: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray((255 * pixels.transpose(1, 2, 0)).round().clip(0, 255).astype(np.uint8))
