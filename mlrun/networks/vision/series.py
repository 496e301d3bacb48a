"""Convolution along time: Wang, Yan and Oates 2017, "Time series classification from scratch", arXiv:1611.06455."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.initialization import initialize


def conv_bn(channels: int, out: int, kernel: int) -> list[nn.Module]:
    """Convolution that keeps the length, even with an even kernel, and batch norm."""
    return [nn.Conv1d(channels, out, kernel, padding="same"), nn.BatchNorm1d(out)]


class SeriesFCN(nn.Module):
    """The paper's fully convolutional network: blocks of convolution, batch norm and ReLU, the mean over time, and `head`.

    Args:
        series_shape: (channels, time).
        num_outputs: class scores before the softmax, or predicted values.
        channels: of each block.
        kernels: of each block.
        init: see `mlrun.networks.layers.initialization`.

    Raises:
        ValueError: if `channels` and `kernels` differ in length.
    """

    def __init__(
        self,
        series_shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (128, 256, 128),
        kernels: Sequence[int] = (8, 5, 3),
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        if len(channels) != len(kernels):
            raise ValueError("channels and kernels need one entry for each block")
        layers: list[nn.Module] = []
        depth = series_shape[0]
        for width, kernel in zip(channels, kernels):
            layers += [*conv_bn(depth, width, kernel), nn.ReLU()]
            depth = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(depth, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, time) -> (batch, num_outputs)."""
        return self.head(self.body(x).mean(dim=2))


class SeriesResidual(nn.Module):
    """relu(F(x) + shortcut(x)), where F is one convolution with batch norm per kernel.

    Args:
        channels: of the input.
        width: channels of the convolutions.
        kernels: of the convolutions.
    """

    def __init__(self, channels: int, width: int, kernels: Sequence[int]):
        super().__init__()
        layers: list[nn.Module] = []
        depth = channels
        for kernel in kernels:
            layers += [*conv_bn(depth, width, kernel), nn.ReLU()]
            depth = width
        self.residual = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential(*conv_bn(channels, width, 1)) if channels != width else nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, time) -> (batch, width, time)."""
        return F.relu(self.residual(x) + self.shortcut(x))


class SeriesResNet(nn.Module):
    """The paper's residual network: blocks of convolutions with shortcuts, the mean over time, and `head`.

    Args:
        series_shape: (channels, time).
        num_outputs: class scores before the softmax, or predicted values.
        channels: of each block.
        kernels: of the convolutions in every block.
        init: see `mlrun.networks.layers.initialization`.
    """

    def __init__(
        self,
        series_shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (64, 128, 128),
        kernels: Sequence[int] = (8, 5, 3),
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        blocks, depth = [], series_shape[0]
        for width in channels:
            blocks.append(SeriesResidual(depth, width, kernels))
            depth = width
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(depth, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, time) -> (batch, num_outputs)."""
        return self.head(self.body(x).mean(dim=2))
