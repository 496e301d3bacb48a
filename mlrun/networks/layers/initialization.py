"""Initial weights: one scheme for every linear and convolutional layer of a network."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

from torch import nn

Scheme = Literal["default", "zeros", "small", "fan_in", "xavier", "he"]
Linear = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Network = TypeVar("Network", bound=nn.Module)


def initialize(module: Network, scheme: Scheme = "default", activation: str = "relu", slope: float = 0.01) -> Network:
    """Reinitializes the weights of every linear and convolutional layer in `module`, and sets the biases to zero.

    default   torch's own, left as it is: uniform with variance 1 / (3 fan_in), biases too
    zeros     0; hidden units then stay identical forever, which is what this scheme demonstrates
    small     normal, standard deviation 0.01
    fan_in    normal, variance 1 / fan_in (LeCun et al. 1998, Efficient BackProp)
    xavier    uniform, variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)
    he        normal, variance 2 / ((1 + a^2) fan_in); a is `slope` for leaky_relu, else 0 (He et al. 2015)

    Args:
        module: the network, changed in place.
        scheme: one of the above.
        activation: name of the activation after the layers.
        slope: of leaky_relu below zero.

    Returns:
        `module`.

    Raises:
        ValueError: for an unknown scheme.
    """
    if scheme == "default":
        return module
    for layer in module.modules():
        if isinstance(layer, Linear):
            _fill(layer, scheme, slope if activation == "leaky_relu" else 0.0)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def _fill(layer: Linear, scheme: Scheme, slope: float) -> None:
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
        raise ValueError(f"init={scheme!r}: choose one of default, zeros, small, fan_in, xavier, he")


def fans(layer: Linear) -> tuple[int, int]:
    """(fan_in, fan_out): the numbers of incoming and outgoing connections of a unit.

    For a convolution they are channels times kernel size within a group of channels.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    window = math.prod(layer.kernel_size)
    return layer.in_channels // layer.groups * window, layer.out_channels // layer.groups * window
