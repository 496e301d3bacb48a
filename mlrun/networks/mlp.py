"""Multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.activations import make_activation
from mlrun.networks.layers.initialization import initialize

_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(nn.Module):
    """Hidden linear layers and a linear output layer, `head`.

    Args:
        input_shape: of one sample; it is flattened.
        num_outputs: class scores before the softmax, or predicted values.
        hidden: widths of the hidden layers, each linear, norm, activation, dropout; none make it a linear model.
        activation: after each hidden layer.
        norm: before the activation; None: no normalization.
        dropout: probability that a hidden unit is dropped.
        init: see `mlrun.networks.layers.initialization`.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        hidden: Sequence[int] = (256,),
        activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "identity"] = "relu",
        norm: Literal["batch", "layer"] | None = None,
        dropout: float = 0.0,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "default",
    ):
        super().__init__()
        if norm is not None and norm not in _NORMS:
            raise ValueError(f"norm={norm!r}: choose one of batch, layer, null")
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = []
        for width_in, width in zip(widths, widths[1:], strict=False):
            layers.append(nn.Linear(width_in, width))
            if norm is not None:
                layers.append(_NORMS[norm](width))
            layers.append(make_activation(activation))
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], num_outputs)
        initialize(self, init, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *input_shape) -> (batch, num_outputs)."""
        return self.head(self.body(x.flatten(1)))
