"""Networks from data to a distribution of codes: the mean and the log-variance of a Gaussian per number of the code."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mlrun.networks.mlp import MLP
from mlrun.networks.vision.cnn import CNN


class DenseEncoder(MLP):
    """(batch, *input_shape) -> mean and log-variance, (batch, latent_size) each; further arguments as `MLP`."""

    def __init__(self, input_shape: Sequence[int], latent_size: int, **options):
        super().__init__(input_shape, 2 * latent_size, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(super().forward(x).chunk(2, dim=1))


class ConvEncoder(CNN):
    """(batch, channels, height, width) -> mean and log-variance, (batch, latent_size) each; further arguments as `CNN`."""

    def __init__(self, image_shape: Sequence[int], latent_size: int, **options):
        super().__init__(image_shape, 2 * latent_size, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(super().forward(x).chunk(2, dim=1))
