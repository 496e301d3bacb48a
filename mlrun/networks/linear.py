"""One linear layer: linear regression, or softmax regression with a cross-entropy loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize


class Linear(nn.Module):
    """A linear function of the flattened input, `head`.

    Args:
        input_shape: of one sample; it is flattened.
        num_outputs: class scores before the softmax, or predicted values.
        bias: whether a constant is added to each output.
        init: see `mlrun.networks.layers.initialization`.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        bias: bool = True,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "default",
    ):
        super().__init__()
        self.head = nn.Linear(math.prod(input_shape), num_outputs, bias=bias)
        initialize(self, init, activation="identity")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *input_shape) -> (batch, num_outputs)."""
        return self.head(x.flatten(1))
