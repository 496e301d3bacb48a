"""The network of Keras's example "Image similarity estimation using a Siamese network with a contrastive loss" (Mehdi 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape


class SiameseCNN(nn.Module):
    """Batch norm, two 5x5 convolutions with tanh and mean pooling, batch norm, a linear layer `head` with tanh.

    With images of 1x28x28 and 10 outputs it has 4,804 parameters.

    Args:
        image_shape: (channels, height, width).
        num_outputs: numbers of the embedding.
        channels: of the convolutions.

    Shapes: (batch, channels, height, width) -> (batch, num_outputs), each from -1 to 1.
    """

    def __init__(self, image_shape: Sequence[int], num_outputs: int, channels: Sequence[int] = (4, 16)):
        super().__init__()
        depth = image_shape[0]
        layers: list[nn.Module] = [nn.BatchNorm2d(depth)]
        for width in channels:
            layers += [nn.Conv2d(depth, width, 5), nn.Tanh(), nn.AvgPool2d(2)]
            depth = width
        layers.append(nn.Flatten())
        (units,) = output_shape(nn.Sequential(*layers), image_shape)
        self.body = nn.Sequential(*layers, nn.BatchNorm1d(units))
        self.head = nn.Linear(units, num_outputs)
        self.squash = nn.Tanh()
        initialize(self, "xavier", "identity")  # Keras's default

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.squash(self.head(self.body(x)))
