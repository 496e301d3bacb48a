"""Scaling of numeric arrays for networks: by moments of the training rows, with images resized."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.resizing import resize
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

NORMALIZATIONS = ("standardize", "unit", "symmetric", "none")


class Scaling:
    """(x - shift) / scale, per component of a vector or per channel of an image, series or volume.

    Args:
        shape: of one row of the network input, such as [features] or [channels, height, width]; flattened rows are accepted too.
        shift, scale: one number per component or channel.
    """

    def __init__(self, shape: Sequence[int], shift: Any, scale: Any):
        self.shape = [int(size) for size in shape]
        self.shift, self.scale = np.asarray(shift, dtype=np.float64), np.asarray(scale, dtype=np.float64)

    @classmethod
    def fit(cls, x: Any, kind: str | None, value_range: float = 255) -> Scaling:
        """Moments of x, (rows, features) or (rows, channels, height, width).

        kind: "standardize" (training mean and standard deviation), "unit" (to [0, 1]: an image by the range of its format, as
            torchvision's ToTensor does; a component by its training minimum and maximum), "symmetric" (the same to [-1, 1]), "none".
        value_range: the largest value of a pixel.
        """
        kind = check_kind(kind)
        groups = x.shape[1]  # components or channels
        if kind == "none":
            shift, scale = np.zeros(groups), np.ones(groups)
        elif kind in ("unit", "symmetric"):
            shift = np.zeros(groups) if x.ndim == 4 else x.min(axis=0).astype(np.float64)
            scale = np.full(groups, float(value_range)) if x.ndim == 4 else x.max(axis=0) - shift
            if kind == "symmetric":
                shift, scale = shift + scale / 2, scale / 2
        else:
            shift, scale = channel_moments(x) if x.ndim == 4 else (x.mean(axis=0), deviation(x))
        return cls(x.shape[1:], shift, nonzero(scale))

    def __call__(self, x: Any) -> np.ndarray:
        """(rows, ...) numbers -> (rows, *shape) float32."""
        x = np.asarray(x)
        x = x.reshape(len(x), *self.shape)
        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        if x.dtype == np.uint8:  # exact in float32, with half the memory
            x = x.astype(np.float32)
            x -= self.shift.astype(np.float32).reshape(per_channel)
            x /= self.scale.astype(np.float32).reshape(per_channel)
            return x
        return ((x - self.shift.reshape(per_channel)) / self.scale.reshape(per_channel)).astype(np.float32)

    def restore(self, x: Any) -> np.ndarray:
        """Network output (rows, *shape) float -> values in the unit of the data."""
        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        return np.asarray(x, dtype=np.float64) * self.scale.reshape(per_channel) + self.shift.reshape(per_channel)

    def on_device(self, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same scaling as a function of a batch of raw tensors, for data stored as bytes until they are used."""
        import torch

        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        shift = torch.tensor(self.shift, dtype=torch.float32, device=device).view(per_channel)
        scale = torch.tensor(self.scale, dtype=torch.float32, device=device).view(per_channel)
        if not self.shift.any():
            return lambda x: x.float() / scale
        return lambda x: (x.float() - shift).div_(scale)  # never in place on x, which may be a view of the data

    @property
    def state(self) -> dict[str, Any]:
        """Plain containers: the constructor's arguments."""
        return {"shape": self.shape, "shift": self.shift.tolist(), "scale": self.scale.tolist()}


class ImageScaling(Scaling):
    """Scaling per channel, then bilinear resizing, antialiased when shrinking.

    Args:
        shape, shift, scale: see `Scaling`.
        image_size: [height, width] of the network input, None for that of the files.
        value_range: the largest value of a pixel.
    """

    def __init__(
        self,
        shape: Sequence[int],
        shift: Any,
        scale: Any,
        image_size: Sequence[int] | None = None,
        value_range: float = 255.0,
    ):
        super().__init__(shape, shift, scale)
        self.value_range = float(value_range)
        self.image_size = None if image_size is None else [int(side) for side in image_size]

    def __call__(self, x: Any) -> np.ndarray:
        scaled = super().__call__(x)
        if self.image_size is None:
            return scaled
        import torch

        return resize(torch.from_numpy(scaled), self.image_size).numpy()

    def on_device(self, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
        scaling, size = super().on_device(device), self.image_size
        return scaling if size is None else lambda x: resize(scaling(x), size)

    def pixels(self, x: Any) -> np.ndarray:
        """Network output (rows, channels, height, width) -> pixels from 0 to 1."""
        return (self.restore(x) / self.value_range).clip(0, 1)

    @property
    def state(self) -> dict[str, Any]:
        return {**super().state, "image_size": self.image_size, "value_range": self.value_range}


def check_kind(kind: str | None) -> str:
    """The kind of normalization, "none" for None. Raises DataError for an unknown one."""
    kind = "none" if kind is None else kind
    if kind not in NORMALIZATIONS:
        raise DataError(f"dataset.normalize={kind}: choose one of {', '.join(NORMALIZATIONS)}")
    return kind


def deviation(x: Any) -> np.ndarray:
    """Standard deviation of each column of (rows, ...); 0 for a constant one, of which rounding would leave a bit."""
    x = np.asarray(x)
    return np.where((x == x[:1]).all(axis=0), 0.0, x.std(axis=0))


def nonzero(scale: Any) -> np.ndarray:
    """A scale with 1 in place of 0, so that a constant component is only shifted."""
    return np.where(np.asarray(scale) > 0, scale, 1.0)


def channel_moments(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel of (rows, channels, height, width), without a float copy of the whole array."""
    total, square = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    step = max(1, 2**20 // int(np.prod(x.shape[1:])))
    for start in range(0, len(x), step):
        part = x[start : start + step].astype(np.float64)
        total += part.sum(axis=(0, 2, 3))
        square += np.einsum("nchw,nchw->c", part, part)
    count = x.size / x.shape[1]
    mean = total / count
    return mean, np.sqrt(np.maximum(square / count - mean**2, 0))
