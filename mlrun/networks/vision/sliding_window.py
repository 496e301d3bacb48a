"""A classifier of small images applied to every window of a larger one at once (Sermanet et al. 2014, OverFeat, arXiv:1312.6229)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

ELEMENTWISE = (
    nn.ReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.BatchNorm2d,
)
WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


class SlidingWindow(nn.Module):
    """A trained classifier as a fully convolutional network that scores all windows in one pass, in evaluation mode.

    The scores at (i, j) equal those of the classifier for the window whose upper left corner is at (i, j) * `stride`. Linear
    layers become convolutions: the first one after flattening gets a kernel as large as its maps, the others are 1x1. The
    weights are shared with the classifier.

    Args:
        network: a classifier whose parts body, classifier (if any) and head are sequences of layers. Its layers must have no
            padding: a window in the middle of an image contains pixels where a padded crop contains zeros.
        image_shape: (channels, height, width) of the images that it was trained on.

    Raises:
        ValueError: for a network with padding, or with layers that cannot be applied convolutionally.
    """

    def __init__(self, network: nn.Module, image_shape: Sequence[int]):
        super().__init__()
        parts = [getattr(network, name, None) for name in ("body", "classifier", "head")]
        self.layers, self.stride = nn.ModuleList(), 1
        kernel: tuple[int, ...] = ()
        x, flat = torch.zeros(1, *image_shape, device=next(network.parameters()).device), False
        training = network.training
        network.eval()
        with torch.no_grad():
            for layer in _sequence(parts):
                if isinstance(layer, nn.Flatten):
                    kernel, flat = tuple(x.shape[1:]), True
                elif isinstance(layer, nn.Linear):
                    if not flat:
                        raise ValueError(
                            f"{type(network).__name__}: a linear layer before flattening cannot be applied to windows"
                        )
                    self.layers.append(_as_convolution(layer, kernel))
                    kernel = (layer.out_features, 1, 1)
                elif isinstance(layer, WINDOWS):
                    if layer.padding != "valid" and (isinstance(layer.padding, str) or _largest(layer.padding)):
                        raise ValueError(
                            f"{type(network).__name__}: padding makes windows differ from crops; train the network with padding 0"
                        )
                    self.stride *= _largest(layer.stride)
                    self.layers.append(layer)
                elif isinstance(layer, ELEMENTWISE):
                    self.layers.append(layer)
                else:
                    raise ValueError(f"{type(network).__name__}: {type(layer).__name__} cannot be applied to windows")
                x = layer(x)
        network.train(training)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width), at least as large as `image_shape` -> scores (batch, num_outputs, rows, columns)."""
        for layer in self.layers:
            x = layer(x)
        return x


def _sequence(parts: Iterable[nn.Module | None]) -> Iterator[nn.Module]:
    """The layers of nested sequences in order."""
    for part in parts:
        if isinstance(part, nn.Sequential):
            yield from _sequence(part)
        elif part is not None:
            yield part


def _as_convolution(linear: nn.Linear, kernel: Sequence[int]) -> nn.Conv2d:
    """The same weights as a convolution. kernel: (channels, height, width) of its input."""
    layer = nn.Conv2d(kernel[0], linear.out_features, (kernel[1], kernel[2]), bias=linear.bias is not None)
    assert math.prod(kernel) == linear.in_features
    layer.weight = nn.Parameter(linear.weight.detach().view(linear.out_features, *kernel), requires_grad=False)
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return layer


def _largest(value: int | Sequence[int]) -> int:
    return value if isinstance(value, int) else max(value)
