"""Encoders of variational autoencoders: from data to the mean and log-variance of a Gaussian over codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mlrun.networks.mlp import MLP
from mlrun.networks.vision.cnn import CNN


class DenseEncoder(MLP):
    """An `MLP` whose outputs are means and log-variances.

    Args:
        input_shape: of one sample.
        latent_size: width of the code.
        **options: of `MLP`.
    """

    def __init__(self, input_shape: Sequence[int], latent_size: int, **options: Any):
        super().__init__(input_shape, 2 * latent_size, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(batch, *input_shape) -> mean and log-variance, each (batch, latent_size)."""
        mean, log_variance = super().forward(x).chunk(2, dim=1)
        return mean, log_variance


class ConvEncoder(CNN):
    """A `CNN` whose outputs are means and log-variances.

    Args:
        image_shape: (channels, height, width).
        latent_size: width of the code.
        **options: of `CNN`.
    """

    def __init__(self, image_shape: Sequence[int], latent_size: int, **options: Any):
        super().__init__(image_shape, 2 * latent_size, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(batch, channels, height, width) -> mean and log-variance, each (batch, latent_size)."""
        mean, log_variance = super().forward(x).chunk(2, dim=1)
        return mean, log_variance
