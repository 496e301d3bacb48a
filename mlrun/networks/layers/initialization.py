"""Initial weights, one scheme for every linear and convolutional layer of a network."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

Scheme = Literal["default", "zeros", "small", "fan_in", "xavier", "he"]

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def initialize(
    module: nn.Module, scheme: Scheme = "default", activation: str = "relu", slope: float = 0.01
) -> nn.Module:
    """Draws the weights of every linear and convolutional layer in `module` anew and sets their biases to zero.

    default   torch's own, left as it is: uniform with variance 1 / (3 fan_in), biases too
    zeros     0; hidden units then stay alike for ever, which is what this scheme is there to show
    small     normal, standard deviation 0.01
    fan_in    normal, variance 1 / fan_in (LeCun et al. 1998, Efficient BackProp)
    xavier    uniform, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)
    he        normal, variance 2 / ((1 + a^2) fan_in); a is `slope` for leaky_relu, else 0 (He et al. 2015)

    fan_in and fan_out count a unit's incoming and outgoing connections: for a convolution, channels times kernel size
    within a group of channels. Returns `module`. Raises ValueError for an unknown scheme.
    """
    if scheme == "default":
        return module
    for layer in module.modules():
        if isinstance(layer, _LINEAR):
            _fill(layer, scheme, slope if activation == "leaky_relu" else 0.0)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def _fill(layer: nn.Module, scheme: Scheme, slope: float) -> None:
    fan_in, fan_out = fans(layer)
    if scheme == "zeros":
        nn.init.zeros_(layer.weight)
    elif scheme == "small":
        nn.init.normal_(layer.weight, std=0.01)
    elif scheme == "fan_in":
        nn.init.normal_(layer.weight, std=fan_in**-0.5)
    elif scheme == "xavier":
        bound = math.sqrt(6 / (fan_in + fan_out))  # a uniform distribution on [-b, b] has variance b^2 / 3
        nn.init.uniform_(layer.weight, -bound, bound)
    elif scheme == "he":
        nn.init.normal_(layer.weight, std=math.sqrt(2 / ((1 + slope**2) * fan_in)))
    else:
        raise ValueError(f"init={scheme!r}: known are default, zeros, small, fan_in, xavier, he")


def fans(layer: nn.Module) -> tuple[int, int]:
    """fan_in and fan_out of a linear or convolutional layer."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    window = math.prod(layer.kernel_size)
    return layer.in_channels // layer.groups * window, layer.out_channels // layer.groups * window
