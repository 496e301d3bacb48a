"""The four-block convolutional network of few-shot learning.

Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra 2016, "Matching networks for one shot learning", arXiv:1606.04080.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mlrun.networks.layers.shapes import output_shape


class Conv4(nn.Module):
    """Blocks of a 3x3 convolution, batch norm, ReLU and 2x2 max pooling, then a linear layer `head`.

    The paper has four blocks of 64 channels and no linear layer; with 28x28 pixels its four poolings leave one number per channel.

    Args:
        image_shape: (channels, height, width).
        num_outputs: numbers of the embedding.
        channels: of each block. A block whose maps are smaller than 2x2 does not pool.

    Shapes: (batch, channels, height, width) -> (batch, num_outputs).
    """

    def __init__(self, image_shape: Sequence[int], num_outputs: int, channels: Sequence[int] = (32, 64, 64)):
        super().__init__()
        layers: list[nn.Module] = []
        depth, *sides = image_shape
        for width in channels:
            layers += [nn.Conv2d(depth, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if min(sides) >= 2:
                layers.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
            depth = width
        self.body = nn.Sequential(*layers, nn.Flatten())
        (units,) = output_shape(self.body, image_shape)
        self.head = nn.Linear(units, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.body(x))
