"""VAEs: the terms of the bound against closed forms; classes are made as asked, and not where a term is dropped."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mlrun.errors import ConfigError
from mlrun.tasks.vae import VAE, divergence
from tests.test_models import trained


class Constant(nn.Module):
    """q(z|x) whatever x."""

    def __init__(self, mean, log_variance):
        super().__init__()
        self.mean, self.log_variance = torch.tensor(mean), torch.tensor(log_variance)

    def forward(self, x):
        return self.mean.expand(len(x), -1), self.log_variance.expand(len(x), -1)


class Same(nn.Module):
    num_classes, latent_size = 0, 2

    def forward(self, code, label=None):
        return code


def test_divergence_is_torchs():
    mean, log_variance = torch.randn(6, 3), torch.randn(6, 3)
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_the_estimate_is_exact_where_the_posterior_is():
    """p(z) = N(0, I), p(x|z) = N(z, I): p(x) = N(0, 2 I), and the posterior is N(x / 2, I / 2). With it every weight is p(x)."""
    x = torch.tensor([[1.0, -2.0]])
    task = VAE(Constant([0.5, -1.0], [math.log(0.5)] * 2), Same(), [2], likelihood="gaussian", deviation=1.0)
    expected = torch.distributions.Normal(0.0, 2**0.5).log_prob(x).sum().item()
    generator = torch.Generator().manual_seed(0)
    _, weights = task.log_weights(x, None, 50, generator)
    torch.testing.assert_close(weights, torch.full((50, 1), expected))
    likelihood, _ = task.log_weights(x, None, 20_000, generator)
    # the ELBO is tight
    assert likelihood.mean().item() - divergence(*task.encoder(x)).item() == pytest.approx(expected, abs=0.02)

    other = VAE(Constant([0.0, 0.0], [0.0] * 2), Same(), [2], likelihood="gaussian", deviation=1.0)
    other.importance_samples = 5000
    bounds = other.bounds(x, torch.zeros(1), generator)
    assert bounds["elbo"] < bounds["log_likelihood"] - 0.5 and bounds["log_likelihood"] == pytest.approx(
        expected, abs=0.1
    )


def test_bernoulli_terms_are_torchs():
    task = VAE(nn.Identity(), Same(), [1, 2, 2])
    x, logits = torch.randint(2, (5, 1, 2, 2)).float(), torch.randn(3, 5, 1, 2, 2)
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(2).sum(2)
    torch.testing.assert_close(task.log_p(x, logits), expected)


def test_binarized():
    generator, x = torch.Generator().manual_seed(0), torch.full((20_000, 1), 0.3)

    def observed(binarize):
        return VAE(nn.Identity(), Same(), [1], binarize=binarize).observed(x, generator)

    assert observed("sampled").mean().item() == pytest.approx(0.3, abs=0.02) and set(
        observed("sampled").unique().tolist()
    ) == {0, 1}
    assert observed("threshold").sum() == 0 and torch.equal(observed("none"), x)


def test_points_have_no_bernoulli_likelihood(tmp_path):
    with pytest.raises(ConfigError, match="likelihood=gaussian"):
        trained(tmp_path, "model=vae", "dataset=moons")
    learner, data = trained(
        tmp_path,
        "model=vae",
        "dataset=moons",
        "dataset.rows=4000",
        "model.likelihood=gaussian",
        "trainer.max_epochs=15",
        "model.decoder.latent_size=2",
    )
    metrics = learner.evaluate(data, "test").metrics
    assert metrics["elbo"] <= metrics["log_likelihood"] + 0.05  # both are estimated from samples
    assert "modes" not in metrics


SHORT = ["model=conditional_vae", "trainer.max_epochs=20", "optim.lr=0.003"]


def measured(tmp_path, reference_classifier, *options):
    learner, data = trained(tmp_path, *SHORT, *options)
    return learner.evaluate(data, "test", reference_classifier).metrics


def test_bounds_and_classes(tmp_path, reference_classifier):
    metrics = measured(tmp_path, reference_classifier)
    assert metrics["elbo"] == pytest.approx(metrics["reconstruction"] - metrics["kl"], abs=1e-4)
    assert metrics["elbo"] <= metrics["log_likelihood"]
    assert metrics["classified_as_asked"] >= FLOOR and metrics["kl"] > 1
    # codes far from the prior: noise makes no digits
    assert measured(tmp_path, reference_classifier, "model.beta=0")["classified_as_asked"] < FLOOR


FLOOR = 0.57  # every one of five seeds reaches 1.0, without the divergence at best 0.15
