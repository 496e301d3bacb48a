"""AlexNet: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape


class AlexNet(nn.Module):
    """Five convolutions, three overlapping 3x3 poolings with stride 2, two hidden linear layers with dropout, and `head`.

    For 3x224x224 and 1,000 classes, with stem (11, 4, 2) and hidden 4096:
    channels (96, 256, 384, 384, 256)               62,378,344 parameters: the paper's network on one device
    the same with groups 2                          60,965,224: the paper's, split across two GPUs
    channels (64, 192, 384, 256, 256)               61,100,840: Krizhevsky 2014, arXiv:1404.5997, as in torchvision

    Args:
        image_shape: (channels, height, width).
        num_outputs: class scores before the softmax, or predicted values.
        channels: of the five convolutions.
        stem: kernel, stride and padding of the first convolution.
        groups: of the second, fourth and fifth convolution.
        hidden: width of both hidden layers.
        dropout: before each hidden layer.
        local_response_norm: the paper's normalization across channels after the first two convolutions (section 3.3).
        init: see `mlrun.networks.layers.initialization`.

    Raises:
        ValueError: if there are not five channels, or an image is too small.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (32, 64, 96, 64, 64),
        stem: Sequence[int] = (5, 1, 2),
        groups: int = 1,
        hidden: int = 256,
        dropout: float = 0.5,
        local_response_norm: bool = False,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "default",
    ):
        super().__init__()
        if len(channels) != 5 or len(stem) != 3:
            raise ValueError(
                f"AlexNet has five convolutions and a stem of (kernel, stride, padding), not {channels}, {stem}"
            )
        kernel, stride, padding = stem
        c1, c2, c3, c4, c5 = channels

        def normalization() -> list[nn.Module]:
            # torch divides alpha by 5
            return [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)] if local_response_norm else []

        self.body = nn.Sequential(
            nn.Conv2d(image_shape[0], c1, kernel, stride, padding), nn.ReLU(), *normalization(), nn.MaxPool2d(3, 2),
            nn.Conv2d(c1, c2, 5, padding=2, groups=groups), nn.ReLU(), *normalization(), nn.MaxPool2d(3, 2),
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=groups), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Flatten(),
        )  # fmt: skip
        (units,) = output_shape(self.body, image_shape)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(units, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.head = nn.Linear(hidden, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.classifier(self.body(x)))
