"""Autoencoders: a short code from which the data can be restored (Hinton and Salakhutdinov 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.tasks.generation import Unsupervised, rows_of
from mlrun.tasks.task import Loss, Outputs


class Autoencoder(Unsupervised):
    """Minimizes the squared error of restored rows; with corrupted input it learns to denoise (Vincent et al. 2008).

    Args:
        encoder: (batch, *input_shape) -> codes (batch, code size).
        decoder: codes -> (batch, *input_shape).
        input_shape: see `Unsupervised`.
        noise: standard deviation of Gaussian noise on the input, in the unit that the network sees.
        masked: share of input values set to 0.
        show_every: see `Unsupervised`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        input_shape: Sequence[int],
        noise: float = 0.0,
        masked: float = 0.0,
        show_every: int | None = None,
    ):
        super().__init__(input_shape, show_every)
        if noise < 0 or not 0 <= masked < 1:
            raise ValueError(f"noise={noise}, masked={masked}: must be at least 0, and in [0, 1)")
        self.encoder, self.decoder, self.noise, self.masked = encoder, decoder, noise, masked

    @property
    def denoises(self) -> bool:
        """Whether its input is corrupted in training."""
        return bool(self.noise or self.masked)

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rows as the encoder sees them in training: with values masked and noise added."""
        if self.masked:
            x = x * (torch.rand(x.shape, generator=generator, device=x.device) >= self.masked)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, device=x.device)
        return x

    def restored(self, x: Tensor) -> Tensor:
        """Rows decoded from their codes."""
        return self.decoder(self.encoder(x))

    def noisy_loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        x = rows_of(batch)
        return Loss((self.restored(self.corrupted(x, generator)) - x).square().mean(), len(x))

    def predict(self, batch: Batch) -> Outputs:
        """Codes: `vectors` (rows, code size), as those of `model=pca`."""
        return {"vectors": self.encoder(rows_of(batch))}
