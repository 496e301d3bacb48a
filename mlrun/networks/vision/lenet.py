"""LeNet-5: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.activations import make_activation
from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape


class LeNet(nn.Module):
    """Two 5x5 convolutions, each followed by 2x2 pooling, then three linear layers, the last of which is `head`.

    The default sizes are the paper's. The paper also subsamples with trained averages, connects the second convolution
    sparsely and ends in radial basis functions, which later implementations drop. With one channel and ten classes, images
    of 28x28 give 44,426 parameters, 32x32 the well-known 61,706.

    Args:
        image_shape: (channels, height, width).
        num_outputs: class scores before the softmax, or predicted values.
        channels: of the convolutions.
        hidden: widths of the hidden linear layers.
        activation: after each convolution and hidden layer.
        pooling: after each convolution.
        padding: pixels on each side before each convolution.
        init: see `mlrun.networks.layers.initialization`.

    Raises:
        ValueError: if the images are too small.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "identity"] = "sigmoid",
        pooling: Literal["max", "mean"] = "max",
        padding: int = 0,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "default",
    ):
        super().__init__()
        pool = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}[pooling]
        layers: list[nn.Module] = []
        depth = image_shape[0]
        for width in channels:
            layers += [nn.Conv2d(depth, width, 5, padding=padding), make_activation(activation), pool(2)]
            depth = width
        layers.append(nn.Flatten())
        self.body = nn.Sequential(*layers)
        (units,) = output_shape(self.body, image_shape)
        for width in hidden:
            self.body.extend([nn.Linear(units, width), make_activation(activation)])
            units = width
        self.head = nn.Linear(units, num_outputs)
        initialize(self, init, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.body(x))
