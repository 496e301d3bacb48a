"""Convolution in three dimensions, for volumes and clips: Ji, Xu, Yang and Yu 2013; Tran et al. 2015 (C3D), arXiv:1412.0767."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape


class CNN3d(nn.Module):
    """Blocks of convolution, batch norm, ReLU and 2x2x2 pooling, a hidden linear layer with dropout, and `head`.

    An axis of length 1 is no longer pooled.

    Args:
        volume_shape: (channels, depth, height, width); of a clip, depth is time.
        num_outputs: class scores before the softmax, or predicted values.
        channels: of each block.
        kernel: of every convolution, along all three axes.
        keep_depth: the first pooling is 1x2x2, as in C3D, which preserves early temporal information.
        hidden: width of the hidden layer.
        dropout: after the hidden layer.
        init: see `mlrun.networks.layers.initialization`.
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
        layers: list[nn.Module] = []
        before = volume_shape[0]
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
        """(batch, channels, depth, height, width) -> (batch, num_outputs)."""
        return self.head(self.classifier(self.body(x)))
