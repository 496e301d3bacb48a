"""The encoder of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image, shape_of
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.scaling import ImageScaling, Scaling
from mlrun.data.readers.images import sizes_of
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.examples import Examples

FLOAT_LIMIT = 64 * 2**20  # largest part in bytes of float32 that is stored normalized


class ImageEncoder(Encoder):
    """Images: scaled per channel, resized.

    Args:
        normalize: see `Scaling.fit`.
        image_size: height and width of the network input, one number or both; None for those of the files.
        enlarge_to: the same, but only for smaller images; a model's `min_image_size` sets it.
    """

    key = "pixel_values"
    feature: Image

    def __init__(
        self,
        feature: Image,
        normalize: str | None = "standardize",
        image_size: int | list[int] | None = None,
        enlarge_to: int | None = None,
        **settings: Any,
    ):
        super().__init__(feature)
        self.normalize, self.image_size, self.enlarge_to = normalize, image_size, enlarge_to

    @property
    def _resized_to(self) -> list[int] | None:
        """[height, width] of the network input if they differ from those of the files, else None."""
        size = shape_of(self.feature)[1:]
        if self.image_size is not None:
            wanted = [self.image_size] * 2 if isinstance(self.image_size, int) else list(self.image_size)
        else:
            wanted = [max(side, self.enlarge_to or 0) for side in size]
        return None if wanted == size else wanted

    def fit(self, column: Any) -> None:
        scaling = Scaling.fit(column, self.normalize, self.feature.value_range)
        self.scaling = ImageScaling(
            scaling.shape, scaling.shift, scaling.scale, self._resized_to, self.feature.value_range
        )

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: self.scaling(column)}

    def compact(self, column: Any) -> dict[str, Any]:
        return {self.key: np.asarray(column).reshape(len(column), *self.scaling.shape)}

    def finish(self, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
        return self.scaling.on_device(device)

    def zoom(self, column: Any) -> np.ndarray:
        """(rows, 2) pixels of the network input per pixel of the original image, for x and y."""
        height, width = self.spec["input_shape"][1:]
        own = sizes_of(column)
        return np.stack([width / own[:, 1], height / own[:, 0]], 1)

    def is_large(self, column: Any, rows: int) -> bool:
        floats = 4 * rows * int(np.prod(self.spec["input_shape"]))
        return self.scaling.image_size is not None or (
            getattr(column, "dtype", None) == np.uint8 and floats > FLOAT_LIMIT
        )

    @property
    def spec(self) -> dict[str, Any]:
        shape = [self.scaling.shape[0], *(self.scaling.image_size or self.scaling.shape[1:])]
        return {"input_shape": shape, "image_shape": shape}

    @property
    def state(self) -> dict[str, Any]:
        return self.scaling.state

    def restore(self, state: Mapping[str, Any]) -> None:
        self.scaling = ImageScaling(**state)

    def inherit(self, state: Mapping[str, Any]) -> bool:
        own = self.scaling
        fits = len(state["shift"]) == len(own.shift)
        if fits:  # in units of the brightness of white
            unit = own.value_range / state["value_range"]
            shift, scale = (np.asarray(state[name]) * unit for name in ("shift", "scale"))
            self.scaling = ImageScaling(own.shape, shift, scale, own.image_size, own.value_range)
        return fits


def check_sizes(**sizes: int | None) -> None:
    """Raises DataError for a size in pixels that is not a whole number of at least 1."""
    for key, size in sizes.items():
        if size is not None and (not isinstance(size, int) or size < 1):
            raise DataError(f"dataset.{key}={size}: give height and width in pixels as one number, or null")
