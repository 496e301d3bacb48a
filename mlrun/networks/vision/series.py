"""Convolution along time: Wang, Yan and Oates 2017, "Time series classification from scratch with deep neural networks", arXiv:1611.06455."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.initialization import initialize


def conv_bn(channels: int, out: int, kernel: int) -> list[nn.Module]:
    """Convolution that keeps the length, for even kernels too, and batch norm."""
    return [nn.Conv1d(channels, out, kernel, padding="same"), nn.BatchNorm1d(out)]


class SeriesFCN(nn.Module):
    """(batch, channels, time) -> (batch, num_outputs): class scores before the softmax. The paper's fully convolutional net.

    Blocks of convolution, batch norm and ReLU without any pooling, then the mean over time and one linear layer.
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
        layers, depth = [], series_shape[0]
        for width, kernel in zip(channels, kernels):
            layers += [*conv_bn(depth, width, kernel), nn.ReLU()]
            depth = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(depth, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=2))


class SeriesResidual(nn.Module):
    """relu(F(x) + shortcut(x)), F three convolutions with kernels 8, 5 and 3."""

    def __init__(self, channels: int, width: int, kernels: Sequence[int]):
        super().__init__()
        layers, depth = [], channels
        for kernel in kernels:
            layers += [*conv_bn(depth, width, kernel), nn.ReLU()]
            depth = width
        self.residual = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential(*conv_bn(channels, width, 1)) if channels != width else nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class SeriesResNet(nn.Module):
    """(batch, channels, time) -> (batch, num_outputs): class scores before the softmax. The paper's residual net.

    Three blocks of three convolutions, the mean over time, and one linear layer.
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
        return self.head(self.body(x).mean(dim=2))
