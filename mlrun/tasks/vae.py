"""Variational autoencoders (Kingma and Welling 2014; Rezende et al. 2014)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.generation import Generation, rows_of
from mlrun.tasks.task import Loss, Outputs

Likelihood = Literal["bernoulli", "gaussian"]


class VAE(Generation):
    """Maximizes log p(x|z) - beta KL(q(z|x) || p(z)), z drawn from q; with beta 1 this is the ELBO.

    p(z) is the standard normal distribution. Conditional, p(x|z, class), where the decoder has `num_classes`. All metrics are in nats per
    row: `elbo` = `reconstruction` - `kl` whatever beta, `log_likelihood` the importance-weighted estimate (Burda et al. 2016).

    Args:
        encoder: (batch, *input_shape) -> mean and log-variance of q, (batch, latent_size) each.
        decoder: codes (batch, latent_size), classes or None -> logits of the pixels (bernoulli) or means (gaussian).
        input_shape: see `Unsupervised`.
        likelihood: "bernoulli", for data in [0, 1], or "gaussian".
        binarize: what is learned: "sampled" draws each pixel anew as 0 or 1 with its grey value as probability (Salakhutdinov and
            Murray 2008), "threshold" cuts at 1/2, "none" keeps grey values, for which the Bernoulli terms are not a likelihood.
            Only of the Bernoulli likelihood.
        deviation: of the Gaussian likelihood; None: one number, learned.
        beta: weight of the KL divergence (Higgins et al. 2017).
        importance_samples: codes per row of the estimate of the log-likelihood.
        show_every: see `Unsupervised`.
    """

    metrics: ClassVar[Mapping[str, Better]] = {
        "loss": Better.SMALLER,
        "elbo": Better.LARGER,
        "reconstruction": Better.LARGER,
        "kl": Better.SMALLER,
    }
    monitor = "elbo"

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
        self.encoder, self.decoder, self.num_classes = encoder, decoder, cast(int, decoder.num_classes)
        self.likelihood, self.binarize, self.beta = likelihood, binarize, beta
        self.importance_samples = importance_samples
        if likelihood == "gaussian":
            self.log_deviation = nn.Parameter(torch.tensor(math.log(deviation or 1.0)), requires_grad=deviation is None)

    # --- the model ------------------------------------------------------------------------------------------------

    def observed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rows as the likelihood takes them: binarized, or as they are."""
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
        decoded = self.decoder(mean + (0.5 * log_variance).exp() * noise, label).float()
        return self.log_p(x, decoded), divergence(mean, log_variance)

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

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.likelihood == "bernoulli":
            low, high = self.first_range()
            if low < 0 or high > 1:
                raise ConfigError(
                    f"model.likelihood=bernoulli: needs values from 0 to 1, and {self.data.name} has {low:.3g} to {high:.3g}. "
                    f"Set model.likelihood=gaussian, or dataset.normalize=unit."
                )

    def noisy_loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        x = self.observed(rows_of(batch), generator)
        reconstruction, kl = self.terms(x, batch["labels"] if self.num_classes else None, generator)
        loss = self.beta * kl - reconstruction
        sums = {"loss": loss, "elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        return Loss(loss.mean(), len(x), {name: values.detach().sum() for name, values in sums.items()})

    # --- use ------------------------------------------------------------------------------------------------------

    def sample(self, count: int, generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """Means of p(x|z), z from the prior."""
        code = torch.randn(count, cast(int, self.decoder.latent_size), generator=generator, device=self.device)
        return self.decoded(code, labels)

    def decoded(self, code: Tensor, labels: Tensor | None = None) -> Tensor:
        """Means of p(x|z): codes (rows, latent_size) -> (rows, *input_shape)."""
        values = self.decoder(code, labels)
        return values.sigmoid() if self.likelihood == "bernoulli" else values

    def predict(self, batch: Batch) -> Outputs:
        """Mean codes: `vectors` (rows, latent_size)."""
        return {"vectors": self.encoder(rows_of(batch))[0]}

    def bounds(
        self, x: Tensor, labels: Tensor | None, generator: torch.Generator, values: int = 2**24
    ) -> dict[str, float]:
        """Sums of `elbo`, `reconstruction`, `kl` and `log_likelihood` over rows (rows, *input_shape), all from the same codes.

        Args:
            x: the rows. labels: (rows,) their classes, for a conditional model.
            generator: of binarization and codes.
            values: numbers that are decoded at once.
        """
        sums = dict.fromkeys(("elbo", "reconstruction", "kl", "log_likelihood"), 0.0)
        size = max(1, values // (self.importance_samples * math.prod(self.input_shape)))
        for start in range(0, len(x), size):
            seen = self.observed(x[start : start + size], generator)
            label = labels[start : start + size] if self.num_classes else None
            likelihood, weights = self.log_weights(seen, label, self.importance_samples, generator)
            reconstruction, kl = likelihood.mean(0), divergence(*self.encoder(seen))
            sums["elbo"] += float((reconstruction - kl).double().sum())
            sums["reconstruction"] += float(reconstruction.double().sum())
            sums["kl"] += float(kl.double().sum())
            sums["log_likelihood"] += float((weights.logsumexp(0) - math.log(self.importance_samples)).double().sum())
        return sums


def divergence(mean: Tensor, log_variance: Tensor, by_component: bool = False) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) of each row (rows,), or of each component of the code (rows, latent_size).

    Kingma and Welling 2014, appendix B.
    """
    terms = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return terms if by_component else terms.sum(-1)
