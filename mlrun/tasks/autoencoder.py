"""Autoencoders: a short code from which the data can be restored (Hinton and Salakhutdinov 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlrun.evaluation import fidelity
from mlrun.tasks.generation import EVALUATION_NOISE, FIXED_NOISE, Generation

SHOWN, FOUND = 10, 7  # rows restored in pictures; training rows found for each of them


class Autoencoder(Generation):
    """Minimizes the squared error of what is restored; corrupted on the way in, it learns to denoise (Vincent et al. 2008).

    It makes no new data: pictures show test rows restored. `predict` gives codes (rows, code size), as that of `model=pca`.
    The error is compared with that of as many principal components of the training rows, in the unit of the data (pixels from 0 to 1).

    Args:
        encoder: (batch, *input_shape) -> codes (batch, code size). decoder: codes -> (batch, *input_shape).
        noise: standard deviation of Gaussian noise on the input, in the unit that the network sees. masked: share of values set to 0.
    """

    monitor, mode = "val/loss", "min"
    wants_judge = False

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        input_shape: Sequence[int],
        noise: float = 0.0,
        masked: float = 0.0,
        show_every: int | None = None,
    ):
        super().__init__(input_shape, show_every=show_every)
        if noise < 0 or not 0 <= masked < 1:
            raise ValueError(f"noise={noise}, masked={masked}: must be at least 0, and in [0, 1)")
        self.encoder, self.decoder, self.noise, self.masked = encoder, decoder, noise, masked

    @property
    def denoises(self) -> bool:
        return bool(self.noise or self.masked)

    def corrupted(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.masked:
            x = x * (torch.rand(x.shape, generator=generator, device=x.device) >= self.masked)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, device=x.device)
        return x

    def training_step(self, batch, batch_index):
        x = batch[0]
        error = (self.decoder(self.encoder(self.corrupted(x, self.random))) - x).square().mean()
        self.tally("train", len(x), loss=error.detach() * len(x))
        return error

    def validation_step(self, batch, batch_index):
        x = batch[0]
        seen = self.corrupted(x, torch.Generator(self.device).manual_seed(EVALUATION_NOISE + batch_index))
        self.tally("val", len(x), loss=(self.decoder(self.encoder(seen)) - x).square().mean() * len(x))

    def on_validation_epoch_end(self):
        super(Generation, self).on_validation_epoch_end()

    @torch.inference_mode()
    def predict_step(self, batch, batch_index=0):
        return self.encoder(batch[0])

    def restored(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))

    @torch.no_grad()
    def shown(self) -> Tensor:
        for x, _ in self.data.loader("val", self.device) or self.data.loader("train", self.device):
            return self._side_by_side(x[:SHOWN])

    def _side_by_side(self, x: Tensor) -> Tensor:
        """x, what the network is given instead if it denoises, and what it restores: rows one after the other."""
        training = self.training
        self.eval()
        seen = self.corrupted(x, torch.Generator(self.device).manual_seed(FIXED_NOISE))
        rows = torch.cat([x, *([seen] if self.denoises else []), self.restored(seen)])
        self.train(training)
        return rows

    def picture(self, x, data):
        from mlrun.report import samples

        made = self.natural(x, data)
        return (
            samples.grid(made, columns=len(made) // (3 if self.denoises else 2))
            if self.makes_images
            else samples.scatter(made, data.content.x)
        )

    def unclipped(self, x: Tensor, data) -> np.ndarray:
        """As `natural`, but as far out of range as it was made: PCA is not cut to the range of pixels either."""
        return data.transform.restore(x.float().cpu().numpy()) / (
            getattr(data.transform, "value_range", 1.0) if self.makes_images else 1.0
        )

    @torch.inference_mode()
    def evaluate(self, loader, data):
        x, y = (torch.cat(parts) for parts in zip(*loader))
        known, known_y = self._training_rows(data)
        codes, known_codes = self.encoder(x), self.encoder(known)
        restored, original, train = (self.unclipped(rows, data) for rows in (self.decoder(codes), x, known))
        error, pca = float(((restored - original) ** 2).mean()), fidelity.pca_error(train, original, codes.shape[1])
        metrics = {"mse": error, "pca_mse": pca, "against_pca": error / pca}
        if self.denoises:
            noisy = self.corrupted(x, torch.Generator(self.device).manual_seed(EVALUATION_NOISE))
            given, cleaned = self.unclipped(noisy, data), self.unclipped(self.restored(noisy), data)
            metrics |= {
                "noisy_mse": float(((given - original) ** 2).mean()),
                "denoised_mse": float(((cleaned - original) ** 2).mean()),
            }
        _, self.found = fidelity.nearest(codes.cpu().numpy(), known_codes.cpu().numpy())
        if data.spec.problem == "classification":
            metrics["search_accuracy"] = float((known_y.cpu().numpy()[self.found] == y.cpu().numpy()).mean())
        self.outcome = x[:SHOWN], codes[:SHOWN].cpu().numpy(), known_codes.cpu().numpy(), train
        return metrics

    @torch.no_grad()
    def figures(self, data, part):
        from mlrun.report import samples

        x, codes, known_codes, train = self.outcome
        yield "restored", self.picture(self._side_by_side(x), data)
        if self.makes_images:
            order = fidelity.squared_distances(codes, known_codes).argsort(axis=1)[:, :FOUND]
            rows = np.concatenate([self.natural(x, data)[:, None], train[order]], axis=1)
            # the first column is searched for
            yield "search_by_code", samples.grid(rows.reshape(-1, *rows.shape[2:]), columns=1 + FOUND)
        if len(self.frames) > 1:
            yield "animation", samples.film([(epoch, self.picture(x, data)) for epoch, x in self.frames])
