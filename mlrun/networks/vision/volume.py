"""Convolution in three dimensions, for volumes and clips: Ji, Xu, Yang and Yu 2013; Tran et al. 2015 (C3D), arXiv:1412.0767."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape


class CNN3d(nn.Module):
    """(batch, channels, depth, height, width) -> (batch, num_outputs): class scores before the softmax.

    Per entry of `channels` a block: convolution of kernel^3, batch norm, ReLU, pooling of 2x2x2, as long as there is
    something to pool; of the first block 1x2x2 where `keep_depth` (C3D does so, not to merge moments too early).
    Then a hidden linear layer with dropout, and `head`.
    """

    def __init__(
        self,
        volume_shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (8, 16, 32),
        kernel: int = 3,
        keep_depth: bool = False,
        hidden: int = 64,
        dropout: float = 0.2,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        layers, before = [], volume_shape[0]
        size = list(volume_shape[1:])
        for place, width in enumerate(channels):
            layers += [
                nn.Conv3d(before, width, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            ]
            window = [min(2, side) for side in size]
            window[0] = 1 if keep_depth and place == 0 else window[0]
            layers.append(nn.MaxPool3d(tuple(window)))
            size = [side // step for side, step in zip(size, window)]
            before = width
        self.body = nn.Sequential(*layers, nn.Flatten())
        (units,) = output_shape(self.body, volume_shape)
        self.classifier = nn.Sequential(nn.Linear(units, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.classifier(self.body(x)))
