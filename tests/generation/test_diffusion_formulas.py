"""The formulas of diffusion against closed forms and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlrun.generation.diffusion import (
    alpha_bars,
    ddim_step,
    denoised,
    diffuse,
    guided,
    posterior,
    sampling_times,
    stratified_times,
    target,
)


def test_linear_schedule_is_that_of_the_paper():
    """alpha_bar as the running product of 1 - beta, beta from 1e-4 to 0.02 (Ho et al. 2020, section 4)."""
    expected = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(alpha_bars("linear", 1000).numpy(), expected, rtol=1e-12)
    assert float(alpha_bars("linear", 1000)[-1]) == pytest.approx(4.04e-5, rel=0.01)  # L_T of the paper is near 0


def test_cosine_schedule_is_that_of_the_paper():
    """alpha_bar itself is given (Nichol & Dhariwal 2021, eq. 17), but for the steps whose beta is cut at 0.999."""

    def f(t):
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [f(t) / f(0) for t in range(1, 1001)]
    np.testing.assert_allclose(alpha_bars("cosine", 1000).numpy()[:990], expected[:990], rtol=1e-9)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [50, 250, 1000])
def test_schedules_lead_from_data_to_noise(schedule, steps):
    alpha_bar = alpha_bars(schedule, steps).numpy()
    assert (np.diff(alpha_bar) < 0).all()
    assert alpha_bar[0] > 0.95 and alpha_bar[-1] < 1e-4 and alpha_bar[-1] > 0


def test_steps_of_noise_add_up():
    """x_t by t small steps x <- sqrt(1 - beta) x + sqrt(beta) eps has the moments of one step from x_0 (DDPM eq. 4)."""
    alpha_bar = alpha_bars("cosine", 20)
    betas = 1 - alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    generator = torch.Generator().manual_seed(0)
    x = torch.full((200_000,), 2.0, dtype=torch.float64)
    for beta in betas[:12]:
        x = (1 - beta).sqrt() * x + beta.sqrt() * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    assert float(x.mean()) == pytest.approx(2 * float(alpha_bar[11].sqrt()), abs=0.01)
    assert float(x.var()) == pytest.approx(1 - float(alpha_bar[11]), rel=0.02)
    one = diffuse(
        torch.full((200_000,), 2.0, dtype=torch.float64),
        torch.randn(x.shape, generator=generator, dtype=x.dtype),
        alpha_bar[11],
    )
    assert float(one.mean()) == pytest.approx(float(x.mean()), abs=0.01)
    assert float(one.var()) == pytest.approx(float(x.var()), rel=0.02)


@pytest.mark.parametrize("prediction", ["noise", "v"])
def test_a_perfect_network_gives_back_data_and_noise(prediction):
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 6, 3, 4, 4, dtype=torch.float64)
    alpha_bar = alpha_bars("linear", 100)[torch.tensor([0, 3, 20, 50, 90, 99])]
    xt = diffuse(x0, noise, alpha_bar)
    found = denoised(prediction, target(prediction, x0, noise, alpha_bar), xt, alpha_bar)
    torch.testing.assert_close(found[0], x0)
    torch.testing.assert_close(found[1], noise)


def test_v_and_noise_are_the_same_plane_turned():
    """(x_t, v) is (x_0, eps) turned by the angle whose cosine is sqrt(alpha_bar): lengths are kept."""
    x0, noise = torch.randn(2, 50, 8, dtype=torch.float64)
    alpha_bar = torch.rand(50, dtype=torch.float64)
    xt, v = diffuse(x0, noise, alpha_bar), target("v", x0, noise, alpha_bar)
    torch.testing.assert_close(xt**2 + v**2, x0**2 + noise**2)


def test_posterior_by_bayes():
    """q(x_s | x_t, x_0) is the product of two Gaussians: q(x_s | x_0) and q(x_t | x_s)."""
    alpha_bar, before, x0, xt = 0.3, 0.7, 1.4, -0.5
    alpha = alpha_bar / before
    precision = 1 / (1 - before) + alpha / (1 - alpha)
    mean = (math.sqrt(before) * x0 / (1 - before) + math.sqrt(alpha) * xt / (1 - alpha)) / precision
    found_mean, found_variance = posterior(
        *(torch.tensor([value], dtype=torch.float64) for value in (x0, xt, alpha_bar, before))
    )
    assert float(found_mean) == pytest.approx(mean, rel=1e-12)
    assert float(found_variance) == pytest.approx(1 / precision, rel=1e-12)


def test_posterior_of_neighbours_is_the_papers():
    """DDPM eq. 7, written with beta_t."""
    alpha_bar = alpha_bars("linear", 1000)
    t = torch.tensor([1, 10, 500, 999])
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    x0, xt = torch.randn(2, 4, 5, dtype=torch.float64)
    mean, variance = posterior(x0, xt, alpha_bar[t], alpha_bar[t - 1])
    a = alpha_bar[t - 1].sqrt() * beta / (1 - alpha_bar[t])
    b = (1 - beta).sqrt() * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
    torch.testing.assert_close(mean, a[:, None] * x0 + b[:, None] * xt)
    torch.testing.assert_close(variance.flatten(), (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta)


def test_ddim_with_eta_1_is_ddpm():
    x0, noise = torch.randn(2, 40, 3, dtype=torch.float64)
    alpha_bar = torch.rand(40, dtype=torch.float64) * 0.9 + 0.01
    before = alpha_bar + (1 - alpha_bar) * torch.rand(40, dtype=torch.float64)
    xt = diffuse(x0, noise, alpha_bar)
    for ours, paper in zip(ddim_step(x0, noise, alpha_bar, before, eta=1.0), posterior(x0, xt, alpha_bar, before)):
        torch.testing.assert_close(ours, paper)


def test_ddim_goes_straight_where_the_data_are_known():
    """With the true noise every step lands on the same line from x_0 to the noise, whatever steps are left out."""
    x0, noise = torch.randn(2, 5, 3, dtype=torch.float64)
    alpha_bar = alpha_bars("cosine", 100)
    mean, variance = ddim_step(x0, noise, alpha_bar[80], alpha_bar[13])
    torch.testing.assert_close(mean, diffuse(x0, noise, alpha_bar[13]))
    assert float(variance) == 0
    last, variance = ddim_step(x0, noise, alpha_bar[0], torch.ones((), dtype=torch.float64), eta=1.0)
    torch.testing.assert_close(last, x0)
    assert float(variance) == 0


def test_visited_times():
    assert sampling_times(5, None) == [4, 3, 2, 1, 0]
    assert sampling_times(1000, 3) == [999, 500, 0]
    assert sampling_times(10, 50) == list(range(9, -1, -1))
    assert len(set(sampling_times(1000, 50))) == 50
    with pytest.raises(ValueError, match="at least 1"):
        sampling_times(10, 0)


def test_guidance_starts_at_the_unconditional_and_passes_the_conditional():
    conditional, unconditional = torch.tensor([2.0]), torch.tensor([1.0])
    assert [float(guided(conditional, unconditional, w)) for w in (0, 1, 3)] == [1.0, 2.0, 4.0]


def test_times_of_a_batch_are_spread():
    """Each uniform on its own, and together with one in every stretch of steps / count."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([stratified_times(50, 200, generator) for _ in range(400)])
    assert (drawn.sort(1).values.diff(dim=1) - 4).abs().max() <= 1
    counts = torch.bincount(drawn.flatten(), minlength=200)
    assert counts.min() > 50 and counts.max() < 160  # 100 each
    assert torch.bincount(drawn[:, 0], minlength=200).max() < 15  # 2 each


@pytest.mark.parametrize("wrong", [{"schedule": "quadratic", "steps": 10}, {"schedule": "linear", "steps": 1}])
def test_schedules_refuse(wrong):
    with pytest.raises(ValueError):
        alpha_bars(**wrong)
