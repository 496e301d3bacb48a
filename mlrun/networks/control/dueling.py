"""Dueling network for action values (Wang et al. 2016, arXiv:1511.06581)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mlrun.networks.mlp import MLP


class DuelingMLP(MLP):
    """Q(s, a) = V(s) + A(s, a) - mean_a A(s, a), equation 9 of the paper: value and advantages from a shared body.

    Args:
        input_shape: of one observation.
        num_outputs: actions.
        **options: of `MLP`.
    """

    def __init__(self, input_shape: Sequence[int], num_outputs: int, **options: Any):
        super().__init__(input_shape, num_outputs, **options)
        self.value = nn.Linear(self.head.in_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *input_shape) -> action values (batch, num_outputs)."""
        features = self.body(x.flatten(1))
        advantages = self.head(features)
        return self.value(features) + advantages - advantages.mean(dim=1, keepdim=True)
