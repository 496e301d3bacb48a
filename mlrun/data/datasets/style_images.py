"""A pair of pictures: content and style."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.digit_scenes import bundled_photograph
from mlrun.data.features import Feature, Photo
from mlrun.data.readers.images import framed, read_whole
from mlrun.data.row_data import ArrayData, Content
from mlrun.errors import DataError

SMALLEST = 16  # pixels of a side


class StyleImages(ArrayData):
    """One row with two images. The train part repeats it `steps_per_epoch` times; val and test hold it once.

    Args:
        problem, name, seed, options: see `ArrayData`.
        content, style: image files, or china.jpg and flower.jpg, scikit-learn's photographs.
        side: pixels of the longer side to which both are reduced.
        steps_per_epoch: updates of the image in an epoch.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        content: str = "china.jpg",
        style: str = "flower.jpg",
        side: int = 160,
        steps_per_epoch: int = 25,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if not isinstance(side, int) or side < SMALLEST:
            raise DataError(f"dataset.side={side}: give a whole number of pixels, at least {SMALLEST}")
        if not isinstance(steps_per_epoch, int) or steps_per_epoch < 1:
            raise DataError(f"dataset.steps_per_epoch={steps_per_epoch}: give a whole number of at least 1")
        self.paths, self.side, self.steps = {"content": content, "style": style}, side, steps_per_epoch
        self.batch_size = 1

    def read(self) -> Content:
        columns = {name: self._reduced(name, path)[None] for name, path in self.paths.items()}
        features: dict[str, Feature] = {name: Photo() for name in columns}
        return Content(columns, features, " and ".join(self.paths.values()), ())

    def _reduced(self, name: str, path: str) -> np.ndarray:
        image = read_whole(Path(path).expanduser()) if Path(path).expanduser().is_file() else bundled_photograph(path)
        height, width = image.shape[1:]
        factor = min(1.0, self.side / max(height, width))
        size = [round(factor * height), round(factor * width)]
        if min(size) < SMALLEST:
            raise DataError(
                f"dataset.{name}={path}: {height} x {width} pixels, reduced to {size[0]} x {size[1]} (dataset.side={self.side}); "
                f"each side needs at least {SMALLEST}: give another image, or a larger dataset.side"
            )
        return framed(image, size)

    def _split(self) -> dict[str, np.ndarray]:
        once = np.zeros(1, dtype=np.int64)
        return {"train": np.zeros(self.steps, dtype=np.int64), "val": once, "test": once}
