"""Densely connected networks: Huang, Liu, van der Maaten and Weinberger 2017, arXiv:1608.06993."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize


class DenseLayer(nn.Module):
    """The input with `growth` new channels computed from all of it: norm, ReLU, 3x3 convolution.

    Args:
        channels: of the input.
        growth: new channels.
        bottleneck: b > 0: norm, ReLU and a 1x1 convolution to b * growth channels come first.
        dropout: after the convolution.
    """

    def __init__(self, channels: int, growth: int, bottleneck: int, dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        if bottleneck:
            layers = [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, bottleneck * growth, 1, bias=False)]
            channels = bottleneck * growth
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, growth, 3, padding=1, bias=False)]
        layers += [nn.Dropout(dropout)] if dropout else []
        self.new = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels + growth, height, width)."""
        return torch.cat([x, self.new(x)], dim=1)


class DenseNet(nn.Module):
    """Blocks of densely connected layers with 1x1 convolutions and pooling between them, the mean over the image, and `head`.

    For 1,000 classes with the large stem and growth 32: blocks (6, 12, 24, 16) is DenseNet-121, 7,978,856 parameters,
    (6, 12, 32, 32) DenseNet-169, 14,149,480. Small stem, growth 12, blocks (16, 16, 16): DenseNet-BC-100 for CIFAR-10, 769,162.

    Args:
        image_shape: (channels, height, width).
        num_outputs: class scores before the softmax, or predicted values.
        blocks: dense layers in each block.
        growth: new channels of each layer, k of the paper.
        bottleneck: 4 in DenseNet-B, 0: none.
        compression: fraction of the channels kept between blocks, theta of the paper; 0.5 in DenseNet-C.
        initial: channels of the stem; None: 2k.
        stem: "large" is a 7x7 convolution with stride 2 and pooling, for 224x224; "small" is a 3x3 convolution.
        dropout: in each dense layer.
        init: see `mlrun.networks.layers.initialization`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        blocks: Sequence[int] = (4, 4, 4),
        growth: int = 12,
        bottleneck: int = 4,
        compression: float = 0.5,
        initial: int | None = None,
        stem: Literal["large", "small"] = "small",
        dropout: float = 0.0,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        channels = initial or 2 * growth
        layers: list[nn.Module]
        if stem == "large":
            layers = [
                nn.Conv2d(image_shape[0], channels, 7, 2, padding=3, bias=False),
                nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1),
            ]  # fmt: skip
        else:
            layers = [nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False)]
        for index, count in enumerate(blocks):
            for _ in range(count):
                layers.append(DenseLayer(channels, growth, bottleneck, dropout))
                channels += growth
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            if index < len(blocks) - 1:
                kept = max(1, int(channels * compression))
                layers += [nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(2)]
                channels = kept
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.body(x).mean(dim=(2, 3)))
