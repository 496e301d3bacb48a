"""Resizing batches of images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(batch, channels, height, width) float tensor -> (batch, channels, *size): bilinear, antialiased when shrinking.

    Two matrix products on the CPU, up to five times as fast as image interpolation. Not on a GPU, which may round products to TF32.
    """
    if x.device.type != "cpu":
        return _interpolated(x, size)
    rows, columns = (_interpolation(old, new) for old, new in zip(x.shape[2:], size, strict=True))
    return rows @ (x @ columns.T)


@cache
def _interpolation(old: int, new: int) -> torch.Tensor:
    """(new, old): the weights of the old pixels of a row in each new one."""
    import torch

    with torch.inference_mode(False):
        return _interpolated(torch.eye(old)[None, None], (new, old))[0, 0]


def _interpolated(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    from torch.nn import functional as F

    shrinks = any(new < old for new, old in zip(size, x.shape[2:]))
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False, antialias=shrinks)
