"""Encoder of photos: images of any size, put into a frame of the network's size with their proportions."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlrun.data.features import Photo
from mlrun.data.preprocess.images import FLOAT_LIMIT, ImageEncoder
from mlrun.data.preprocess.scaling import ImageScaling, Scaling
from mlrun.data.readers.images import frame_scale, framed, in_channels, sizes_of
from mlrun.errors import DataError

MOMENTS = 200  # photos whose pixels determine the scaling


class PhotoEncoder(ImageEncoder):
    """Photos scaled per channel. Another size than the network's is resized into the upper left corner of its input; the rest is black. A network of
    grey images reads colours as grey, one of colours grey images in three equal channels.

    Args: as those of `ImageEncoder`; `image_size` is needed where the photos differ in size.
    """

    feature: Photo

    def fit(self, column: Any) -> None:
        size = self._size(column)
        some = np.linspace(0, len(column) - 1, min(MOMENTS, len(column))).round().astype(int)
        sample = np.stack([framed(column[int(row)], size) for row in some])
        scaling = Scaling.fit(sample, self.normalize, self.feature.value_range)
        self.scaling = ImageScaling(scaling.shape, scaling.shift, scaling.scale, None, self.feature.value_range)

    def _size(self, column: Any) -> list[int]:
        """[height, width] of the network input."""
        if self.image_size is not None:
            return [self.image_size] * 2 if isinstance(self.image_size, int) else list(self.image_size)
        sizes = np.unique(sizes_of(column), axis=0)
        if len(sizes) > 1:
            small, large = ("x".join(map(str, size)) for size in (sizes[0], sizes[-1]))
            raise DataError(
                f"the images differ in size ({small}, {large}); set dataset.image_size=[HEIGHT,WIDTH], to which they are fitted"
            )
        return [max(int(side), self.enlarge_to or 0) for side in sizes[0]]

    def _framed(self, column: Any) -> np.ndarray:
        size = self.scaling.shape[1:]
        if hasattr(column, "dtype") and list(column.shape[1:]) == self.scaling.shape:
            return np.asarray(column)
        made = np.zeros((len(column), *self.scaling.shape), np.uint8)
        for row in range(len(column)):
            made[row] = framed(in_channels(column[row], self.scaling.shape[0]), size)
        return made

    def encode(self, column: Any, examples: Any = None) -> dict[str, Any]:
        return {self.key: self.scaling(self._framed(column))}

    def compact(self, column: Any) -> dict[str, Any]:
        return {self.key: self._framed(column)}

    def is_large(self, column: Any, rows: int) -> bool:
        return 4 * rows * int(np.prod(self.scaling.shape)) > FLOAT_LIMIT

    def zoom(self, column: Any) -> np.ndarray:
        scale = frame_scale(sizes_of(column), self.scaling.shape[1:])
        return np.stack([scale, scale], 1)
