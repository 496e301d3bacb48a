"""Variational autoencoders (Kingma and Welling 2014; Rezende et al. 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.errors import ConfigError
from mlrun.tasks.generation import EVALUATION_NOISE, Generation

Likelihood = Literal["bernoulli", "gaussian"]
SHOWN = 10  # rows restored in the figure


class VAE(Generation):
    """Maximizes log p(x|z) - beta KL(q(z|x) || p(z)), z from q by its mean and deviation; with beta 1 this is the ELBO.

    p(z) is the standard normal distribution. Conditional, p(x|z, class), where the decoder has `num_classes`. All figures are in nats per
    row: `elbo` = `reconstruction` - `kl` whatever beta, `log_likelihood` the importance-weighted estimate (Burda et al. 2016).
    `predict` gives mean codes (rows, latent_size).

    Args:
        encoder: (batch, *input_shape) -> mean and log-variance of q, (batch, latent_size) each.
        decoder: codes (batch, latent_size), classes or None -> logits of the pixels (bernoulli) or means (gaussian).
        likelihood: "bernoulli", for data in [0, 1], or "gaussian".
        binarize: what is learned: "sampled" draws each pixel anew as 0 or 1 with its grey value as probability (Salakhutdinov and
            Murray 2008), "threshold" cuts at 1/2, "none" keeps grey values, for which the Bernoulli terms are no likelihood.
            Only of the Bernoulli likelihood.
        deviation: of the Gaussian likelihood; None: one number, learned.
        importance_samples: codes per row of the estimate.
    """

    monitor, mode = "val/elbo", "max"

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        input_shape: Sequence[int],
        likelihood: Likelihood = "bernoulli",
        binarize: Literal["sampled", "threshold", "none"] = "sampled",
        deviation: float | None = None,
        beta: float = 1.0,
        importance_samples: int = 100,
        show_every: int | None = None,
    ):
        super().__init__(input_shape, show_every=show_every)
        if beta < 0:
            raise ValueError(f"beta={beta}: must be at least 0")
        if deviation is not None and deviation <= 0:
            raise ValueError(f"deviation={deviation}: must be positive, or null to learn it")
        self.encoder, self.decoder, self.num_classes = encoder, decoder, decoder.num_classes
        self.likelihood, self.binarize, self.beta, self.importance_samples = (
            likelihood,
            binarize,
            beta,
            importance_samples,
        )
        if likelihood == "gaussian":
            self.log_deviation = nn.Parameter(torch.tensor(math.log(deviation or 1.0)), requires_grad=deviation is None)

    # --- the model ------------------------------------------------------------------------------------------------

    def observed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rows as the likelihood is of them."""
        if self.likelihood == "gaussian" or self.binarize == "none":
            return x
        if self.binarize == "threshold":
            return (x >= 0.5).to(x.dtype)
        return (torch.rand(x.shape, generator=generator, device=x.device) < x).to(x.dtype)

    def log_p(self, x: Tensor, decoded: Tensor) -> Tensor:
        """log p(x|z): x (rows, *shape), decoded (..., rows, *shape) -> (..., rows)."""
        if self.likelihood == "bernoulli":
            terms = -F.binary_cross_entropy_with_logits(decoded, x.expand_as(decoded), reduction="none")
        else:
            terms = (
                -0.5 * ((x - decoded) / self.log_deviation.exp()).square()
                - self.log_deviation
                - 0.5 * math.log(2 * math.pi)
            )
        return terms.flatten(-len(self.input_shape)).sum(-1)

    def terms(self, x: Tensor, label: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(log p(x|z) with one z per row, KL(q || p)), (rows,) each."""
        mean, log_variance = self.encoder(x)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return self.log_p(x, self.decoder(mean + (0.5 * log_variance).exp() * noise, label).float()), divergence(
            mean, log_variance
        )

    def log_weights(
        self, x: Tensor, label: Tensor | None, samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(log p(x|z), log p(x, z) - log q(z|x)), (samples, rows) each: the mean of the weights estimates p(x)."""
        mean, log_variance = self.encoder(x)
        noise = torch.randn(samples, *mean.shape, generator=generator, device=mean.device)
        code = mean + (0.5 * log_variance).exp() * noise
        labels = None if label is None else label.repeat(samples)
        decoded = self.decoder(code.flatten(0, 1), labels).float().unflatten(0, (samples, len(x)))
        likelihood = self.log_p(x, decoded)
        prior_to_posterior = 0.5 * (noise.square() + log_variance - code.square()).sum(-1)
        return likelihood, likelihood + prior_to_posterior

    # --- training -------------------------------------------------------------------------------------------------

    def on_fit_start(self):
        super().on_fit_start()
        if self.likelihood == "bernoulli":
            x, _ = next(iter(self.data.loader("train", self.device)))
            low, high = float(x.min()), float(x.max())
            if low < 0 or high > 1:
                raise ConfigError(
                    f"model.likelihood=bernoulli: is of values from 0 to 1, and {self.data.name} has {low:.3g} to {high:.3g}. "
                    f"Set model.likelihood=gaussian, or dataset.normalize=unit."
                )

    def training_step(self, batch, batch_index):
        return self._step("train", batch, self.random)

    def validation_step(self, batch, batch_index):
        self._step("val", batch, torch.Generator(self.device).manual_seed(EVALUATION_NOISE + batch_index))

    def on_validation_epoch_end(self):
        super(Generation, self).on_validation_epoch_end()

    def _step(self, stage: str, batch, generator: torch.Generator) -> Tensor:
        x = self.observed(batch[0], generator)
        reconstruction, kl = self.terms(x, batch[1] if self.num_classes else None, generator)
        loss = self.beta * kl - reconstruction
        sums = {"loss": loss, "elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        self.tally(stage, len(x), **{name: values.detach().sum() for name, values in sums.items()})
        return loss.mean()

    # --- use ------------------------------------------------------------------------------------------------------

    def sample(self, count, generator, labels=None):
        """Means of p(x|z), z from the prior."""
        return self.decoded(
            torch.randn(count, self.decoder.latent_size, generator=generator, device=self.device), labels
        )

    def decoded(self, code: Tensor, labels: Tensor | None = None) -> Tensor:
        values = self.decoder(code, labels)
        return values.sigmoid() if self.likelihood == "bernoulli" else values

    @torch.inference_mode()
    def predict_step(self, batch, batch_index=0):
        return self.encoder(batch[0])[0]

    @torch.inference_mode()
    def evaluate(self, loader, data):
        generator = torch.Generator(self.device).manual_seed(EVALUATION_NOISE)
        sums, rows, seen = {}, 0, []
        for x, y in loader:
            seen.append((x, y))
            for metric, value in self.bounds(x, y, generator).items():
                sums[metric] = sums.get(metric, 0.0) + value
            rows += len(x)
        metrics = {name: value / rows for name, value in sums.items()}
        return {**metrics, **super().evaluate(seen, data)}

    def bounds(self, x: Tensor, y: Tensor, generator: torch.Generator, values: int = 2**24) -> dict[str, float]:
        """Sums over the rows; all terms from the same codes."""
        sums = dict.fromkeys(("elbo", "reconstruction", "kl", "log_likelihood"), 0.0)
        size = max(1, values // (self.importance_samples * math.prod(self.input_shape)))
        for rows, classes in zip(x.split(size), y.split(size)):
            seen, label = self.observed(rows, generator), classes if self.num_classes else None
            likelihood, weights = self.log_weights(seen, label, self.importance_samples, generator)
            reconstruction, kl = likelihood.mean(0), divergence(*self.encoder(seen))
            sums["elbo"] += float((reconstruction - kl).double().sum())
            sums["reconstruction"] += float(reconstruction.double().sum())
            sums["kl"] += float(kl.double().sum())
            sums["log_likelihood"] += float((weights.logsumexp(0) - math.log(self.importance_samples)).double().sum())
        return sums

    # --- figures --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def figures(self, data, part):
        yield from super().figures(data, part)
        if self.makes_images:
            self.eval()
            for x, y in data.loader(part, self.device) or ():
                yield from self._latent_figures(x, y, data)
                return

    def _latent_figures(self, x: Tensor, y: Tensor, data, steps: int = 9, side: int = 12):
        from mlrun.report import samples

        def drawn(code, labels, columns):
            return samples.grid(self.natural(self.decoded(code, labels), data), columns=columns)

        mean, log_variance = self.encoder(x)
        label = y if self.num_classes else None
        restored = self.decoded(mean[:SHOWN], None if label is None else label[:SHOWN])
        yield "restored", samples.grid(self.natural(torch.cat([x[:SHOWN], restored]), data), columns=len(restored))

        pairs = min(8, len(x) // 2)
        share = torch.linspace(0, 1, steps, device=x.device)[None, :, None]
        walk = mean[:pairs, None] * (1 - share) + mean[pairs : 2 * pairs, None] * share
        labels = None if label is None else label[:pairs].repeat_interleave(steps)
        yield "interpolation", drawn(walk.flatten(0, 1), labels, steps)

        # the two that say most
        used = divergence(mean, log_variance, keep=True).mean(0).topk(min(2, mean.shape[1])).indices
        quantiles = torch.special.ndtri(torch.linspace(0.5 / side, 1 - 0.5 / side, side, device=x.device))
        plane = torch.zeros(side * side, mean.shape[1], device=x.device)
        plane[:, used] = torch.cartesian_prod(*[quantiles] * len(used)).reshape(-1, len(used))[: side * side]
        yield "latent_grid", drawn(plane, None if label is None else label[:1].repeat(len(plane)), side)

        if data.spec.problem == "classification" and label is None:
            first, second = y.bincount().topk(2).indices
            way = mean[y == second].mean(0) - mean[y == first].mean(0)
            walk = mean[y == first][:8, None] + way * torch.linspace(0, 1.5, steps, device=x.device)[None, :, None]
            yield "latent_arithmetic", drawn(walk.flatten(0, 1), None, steps)


def divergence(mean: Tensor, log_variance: Tensor, keep: bool = False) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) per row, or per row and number (Kingma and Welling 2014, appendix B)."""
    terms = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return terms if keep else terms.sum(-1)
