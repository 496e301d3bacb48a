"""A classifier of small images made to score every window of a larger one at once (Sermanet et al. 2014, OverFeat, arXiv:1312.6229)."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    """(batch, channels, height, width) of at least the trained size -> scores (batch, num_outputs, rows, columns) in evaluation.

    Scores at (i, j) equal those of the classifier for the window whose upper left corner is at (i, j) * `stride`. Linear layers
    become convolutions: the first after flattening with a kernel as large as its maps, the others 1x1; the weights are shared.
    network: a trained classifier whose parts body, classifier (if any) and head are sequences of layers, without padding:
    a window in the middle of an image sees pixels where the padded crop sees zeros. Raises ValueError for others.
    """

    def __init__(self, network: nn.Module, image_shape: Sequence[int]):
        super().__init__()
        parts = [getattr(network, name, None) for name in ("body", "classifier", "head")]
        self.layers, self.stride = nn.ModuleList(), 1
        x, flat = torch.zeros(1, *image_shape, device=next(network.parameters()).device), False
        training = network.training
        network.eval()
        with torch.no_grad():
            for layer in _sequence(parts):
                if isinstance(layer, nn.Flatten):
                    kernel, flat = x.shape[1:], True
                elif isinstance(layer, nn.Linear):
                    if not flat:
                        raise ValueError(f"{type(network).__name__}: a linear layer before flattening cannot slide")
                    self.layers.append(_as_convolution(layer, kernel))
                    kernel = (layer.out_features, 1, 1)
                elif isinstance(layer, WINDOWS):
                    if _largest(layer.padding):
                        raise ValueError(
                            f"{type(network).__name__}: padding makes windows differ from crops; train it with padding 0"
                        )
                    self.stride *= _largest(layer.stride)
                    self.layers.append(layer)
                elif isinstance(layer, ELEMENTWISE):
                    self.layers.append(layer)
                else:
                    raise ValueError(f"{type(network).__name__}: {type(layer).__name__} cannot slide")
                x = layer(x)
        network.train(training)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _sequence(parts):
    for part in parts:
        if isinstance(part, nn.Sequential):
            yield from _sequence(part)
        elif part is not None:
            yield part


def _as_convolution(linear: nn.Linear, kernel: Sequence[int]) -> nn.Conv2d:
    layer = nn.Conv2d(kernel[0], linear.out_features, tuple(kernel[1:]), bias=linear.bias is not None)
    assert math.prod(kernel) == linear.in_features
    layer.weight = nn.Parameter(linear.weight.detach().view(linear.out_features, *kernel), requires_grad=False)
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return layer


def _largest(value) -> int:
    return value if isinstance(value, int) else max(value)
