"""Dueling head for action values (Wang et al. 2016)."""

from __future__ import annotations

from torch import Tensor, nn

from mlrun.networks.mlp import MLP


class DuelingMLP(MLP):
    """(batch, *input_shape) -> (batch, num_outputs): Q = V + A - mean A, value and advantages from a shared body.

    Arguments as of `MLP`.
    """

    def __init__(self, input_shape, num_outputs: int, **options):
        super().__init__(input_shape, num_outputs, **options)
        self.value = nn.Linear(self.head.in_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x.flatten(1))
        advantages = self.head(features)
        return self.value(features) + advantages - advantages.mean(dim=1, keepdim=True)
