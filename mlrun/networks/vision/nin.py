"""Network in network: Lin, Chen and Yan 2014, arXiv:1312.4400."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize


def nin_block(channels: int, widths: Sequence[int], kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A convolution and 1x1 convolutions after it: a small MLP that slides over the image. widths: outputs of each."""
    layers = [nn.Conv2d(channels, widths[0], kernel, stride, padding), nn.ReLU()]
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Conv2d(before, after, 1), nn.ReLU()]
    return nn.Sequential(*layers)


class NiN(nn.Module):
    """(batch, channels, height, width) -> (batch, num_outputs): class scores before the softmax, the means of score maps.

    Blocks with max pooling of 3x3, stride 2, between them, dropout, then `head`: a block without last ReLU that makes one
    score map per class, averaged over the image. widths: of each block's layers; kernels, strides, paddings: of each
    block's first convolution; head_widths: of the head's layers but the last, num_outputs wide.
    The CIFAR-10 net of the paper: widths [[192, 160, 96], [192, 192, 192]], kernels [5, 5], paddings [2, 2],
    head_widths [192, 192], 966,986 parameters.
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
        layers, channels = [], image_shape[0]
        for width, kernel, stride, padding in zip(widths, kernels, strides, paddings):
            layers += [nin_block(channels, width, kernel, stride, padding), nn.MaxPool2d(3, 2, padding=1)]
            channels = width[-1]
        self.body = nn.Sequential(*layers, nn.Dropout(dropout))
        self.head = nin_block(channels, [*head_widths, num_outputs], 3, padding=1)[:-1]
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).mean(dim=(2, 3))
