"""Network in network: Lin, Chen and Yan 2014, arXiv:1312.4400."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize


def nin_block(channels: int, widths: Sequence[int], kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A convolution followed by 1x1 convolutions, each with a ReLU: a small MLP applied at every position.

    Args:
        channels: of the input.
        widths: output channels of each convolution.
        kernel: of the first convolution, as are `stride` and `padding`.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], kernel, stride, padding), nn.ReLU()]
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Conv2d(before, after, 1), nn.ReLU()]
    return nn.Sequential(*layers)


class NiN(nn.Module):
    """Blocks with 3x3 max pooling after each, dropout, and `head`: a block that ends in one score map per class.

    A class score is the mean of its map. The paper's network for CIFAR-10 has widths [[192, 160, 96], [192, 192, 192]],
    kernels [5, 5], paddings [2, 2], head_widths [192, 192]: 966,986 parameters.

    Args:
        image_shape: (channels, height, width).
        num_outputs: class scores before the softmax, or predicted values.
        widths: output channels of the convolutions of each block.
        kernels: of each block's first convolution, as are `strides` and `paddings`.
        head_widths: output channels of the head's convolutions but the last.
        dropout: before the head.
        init: see `mlrun.networks.layers.initialization`.

    Raises:
        ValueError: if the lists differ in length.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        widths: Sequence[Sequence[int]] = ((48, 48, 48), (96, 96, 96)),
        kernels: Sequence[int] = (5, 3),
        strides: Sequence[int] = (1, 1),
        paddings: Sequence[int] = (2, 1),
        head_widths: Sequence[int] = (96, 96),
        dropout: float = 0.5,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        if not len(widths) == len(kernels) == len(strides) == len(paddings):
            raise ValueError("widths, kernels, strides and paddings need one entry for each block")
        layers: list[nn.Module] = []
        channels = image_shape[0]
        for width, kernel, stride, padding in zip(widths, kernels, strides, paddings):
            layers += [nin_block(channels, width, kernel, stride, padding), nn.MaxPool2d(3, 2, padding=1)]
            channels = width[-1]
        self.body = nn.Sequential(*layers, nn.Dropout(dropout))
        self.head = nin_block(channels, [*head_widths, num_outputs], 3, padding=1)[:-1]
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.body(x)).mean(dim=(2, 3))
