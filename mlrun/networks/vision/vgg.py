"""VGG: Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image recognition", arXiv:1409.1556."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape

# convolutions in each block by depth; the paper's A, B, D, E
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions, each ending in 2x2 pooling, two hidden linear layers with dropout, and `head`.

    With width 1, hidden 4096, 3x224x224 and 1,000 classes: 132,863,336 (11), 133,047,848 (13), 138,357,544 (16) and
    143,667,240 (19) parameters; with batch_norm 132,868,840, 133,053,736, 138,365,992 and 143,678,248.

    Args:
        image_shape: (channels, height, width), at least 32x32.
        num_outputs: class scores before the softmax, or predicted values.
        depth: layers with weights.
        batch_norm: after each convolution.
        width: fraction of the paper's channels and hidden units (1/8 is the VGG-11 of Dive into Deep Learning).
        hidden: units of both hidden layers, before they are scaled by `width`.
        dropout: after each hidden layer.
        init: see `mlrun.networks.layers.initialization`.

    Raises:
        ValueError: for an unknown depth, or if the images are too small.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        depth: Literal[11, 13, 16, 19] = 11,
        batch_norm: bool = False,
        width: float = 1.0,
        hidden: int = 4096,
        dropout: float = 0.5,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth={depth}: VGG has {', '.join(map(str, CONVOLUTIONS))} layers with weights")
        layers: list[nn.Module] = []
        channels = image_shape[0]
        for convolutions, out in zip(CONVOLUTIONS[depth], CHANNELS):
            out = max(1, round(out * width))
            for _ in range(convolutions):
                layers.append(nn.Conv2d(channels, out, 3, padding=1))
                layers += [nn.BatchNorm2d(out)] if batch_norm else []
                layers.append(nn.ReLU())
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers, nn.Flatten())
        (units,) = output_shape(self.body, image_shape)
        hidden = max(1, round(hidden * width))
        self.classifier = nn.Sequential(
            nn.Linear(units, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(hidden, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.classifier(self.body(x)))
