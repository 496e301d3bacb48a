"""Enlarging maps: transposed convolutions and bilinear interpolation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Upsampling = Literal["transposed", "bilinear"]


def bilinear_kernel(factor: int) -> Tensor:
    """(size, size): the kernel with which a transposed convolution of stride `factor` interpolates bilinearly (Long et al. 2015)."""
    size = 2 * factor - factor % 2
    line = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    return torch.outer(line, line)


class TransposedUpsampling(nn.ConvTranspose2d):
    """A transposed convolution that multiplies height and width by `factor`, initialized to bilinear interpolation.

    Args:
        channels, width: of input and output; with different numbers the kernel of each output is that of one input.
        factor: of the enlargement.
        groups: of channels; `channels` of them keep the channels apart.
    """

    def __init__(self, channels: int, width: int, factor: int, groups: int = 1):
        size = 2 * factor - factor % 2
        super().__init__(channels, width, size, factor, padding=(size - factor) // 2, groups=groups)
        with torch.no_grad():
            self.weight.zero_()
            assert self.bias is not None
            self.bias.zero_()
            kernel = bilinear_kernel(factor)
            own = width // groups  # outputs of a group
            for channel in range(channels):
                self.weight[channel, channel % own] = kernel * min(1.0, width / channels)


class Enlarge(nn.Module):
    """Multiplies height and width of a map by `factor`, and sets the number of channels.

    Args:
        channels, width: of input and output.
        factor: of the enlargement.
        kind: "transposed": a transposed convolution that is learned; "bilinear": interpolation, after a 1x1 convolution if widths differ.
    """

    def __init__(self, channels: int, width: int, factor: int, kind: Upsampling):
        super().__init__()
        if kind not in ("transposed", "bilinear"):
            raise ValueError(f"upsampling={kind!r}: choose transposed or bilinear")
        self.factor, self.kind = factor, kind
        self.layer: nn.Module
        if kind == "transposed":
            self.layer = TransposedUpsampling(channels, width, factor)
        else:
            self.layer = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, width, factor * height, factor * width)."""
        x = self.layer(x)
        if self.kind == "transposed":
            return x
        return F.interpolate(x, scale_factor=float(self.factor), mode="bilinear", align_corners=False)


def fitted(x: Tensor, like: Tensor) -> Tensor:
    """A map cut or filled up at its lower and right side to the height and width of another one."""
    height, width = like.shape[2:]
    if x.shape[2:] == like.shape[2:]:
        return x
    x = x[:, :, :height, :width]
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), mode="replicate")
