"""Gaussian diffusion as formulas: noise schedules, prediction targets, and the steps from noise to data.

The symbols are those of DDPM (Ho, Jain and Abbeel 2020, arXiv:2006.11239), with time counted from 0 to steps - 1: data x_0,
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, eps ~ N(0, I). Before the first step alpha_bar is 1. An `alpha_bar`
argument is (batch,) or a single value.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["linear", "cosine"]
Prediction = Literal["noise", "v"]


def alpha_bars(schedule: Schedule, steps: int) -> Tensor:
    """The fraction of the data's variance that remains after each step, decreasing from nearly 1 to nearly 0.

    No beta is larger than 0.999, so that the last step keeps a trace of the data.

    Args:
        schedule: "linear": betas from 1e-4 to 0.02 at 1000 steps (Ho et al. 2020), scaled so that fewer steps end at the same
            noise; "cosine": alpha_bar_t = f(t) / f(0) with f(t) = cos^2((t / steps + s) / (1 + s) * pi / 2), s = 0.008 (Nichol
            and Dhariwal 2021, arXiv:2102.09672, equation 17).
        steps: at least 2.

    Returns:
        (steps,) float64.

    Raises:
        ValueError: for an unknown schedule or too few steps.
    """
    if steps < 2:
        raise ValueError(f"steps={steps}: diffusion needs at least 2")
    if schedule == "linear":
        scale = 1000 / steps
        betas = torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64)
    elif schedule == "cosine":
        s, t = 0.008, torch.arange(steps + 1, dtype=torch.float64) / steps
        f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
        betas = 1 - f[1:] / f[:-1]
    else:
        raise ValueError(f"schedule={schedule!r}: choose one of linear, cosine")
    return torch.cumprod(1 - betas.clamp(max=0.999), 0)


def diffuse(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t of DDPM, equation 4: data and noise (batch, ...) -> (batch, ...)."""
    alpha_bar = _per_row(alpha_bar, x0)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def target(prediction: Prediction, x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The prediction target of the network, (batch, ...) as its arguments.

    "noise" is eps; "v" is sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (Salimans and Ho 2022, arXiv:2202.00512, appendix D),
    which remains informative where x_t is nearly all noise.
    """
    if prediction == "noise":
        return noise
    alpha_bar = _per_row(alpha_bar, x0)
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0


def denoised(prediction: Prediction, output: Tensor, xt: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """The estimates of (x_0, noise), each (batch, ...), that the output of the network implies for x_t."""
    alpha_bar = _per_row(alpha_bar, xt)
    signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction == "noise":
        return (xt - spread * output) / signal, output
    return signal * xt - spread * output, spread * xt + signal * output


def posterior(x0: Tensor, xt: Tensor, alpha_bar: Tensor, alpha_bar_before: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (batch, ...) and variance of q(x_s | x_t, x_0) for a time s before t (DDPM, equations 6 and 7).

    With alpha = alpha_bar_t / alpha_bar_s, s may be several steps before t (Nichol and Dhariwal 2021, section 4).

    Args:
        x0: data (batch, ...).
        xt: noisy data (batch, ...).
        alpha_bar: at t.
        alpha_bar_before: at s.
    """
    alpha_bar, before = _per_row(alpha_bar, x0), _per_row(alpha_bar_before, x0)
    alpha = alpha_bar / before
    mean = (before.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - before) * xt) / (1 - alpha_bar)
    return mean, (1 - before) / (1 - alpha_bar) * (1 - alpha)


def ddim_step(
    x0: Tensor, noise: Tensor, alpha_bar: Tensor, alpha_bar_before: Tensor, eta: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean (batch, ...) and variance of a DDIM step from t to s (Song, Meng and Ermon 2021, arXiv:2010.02502, equations 12 and 16).

    Args:
        x0: estimated data (batch, ...).
        noise: estimated noise (batch, ...).
        alpha_bar: at t.
        alpha_bar_before: at s.
        eta: 0: deterministic, so that a sample is a function of the initial noise; 1: the posterior of DDPM.
    """
    alpha_bar, before = _per_row(alpha_bar, x0), _per_row(alpha_bar_before, x0)
    variance = eta**2 * (1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)
    return before.sqrt() * x0 + (1 - before - variance).clamp(min=0).sqrt() * noise, variance


def sampling_times(steps: int, count: int | None) -> list[int]:
    """The times of the sampling steps, from the last to 0.

    Args:
        steps: times of the model.
        count: sampling steps, evenly spaced with both ends included; None: all times.

    Raises:
        ValueError: if `count` is less than 1.
    """
    count = steps if count is None else min(count, steps)
    if count < 1:
        raise ValueError(f"sampling_steps={count}: must be at least 1")
    if count == 1:
        return [steps - 1]
    return [round(step * (steps - 1) / (count - 1)) for step in reversed(range(count))]


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598); their w is guidance - 1.

    Args:
        conditional: output of the network with labels (batch, ...).
        unconditional: output without labels (batch, ...).
        guidance: 1 is the conditional model, 0 the unconditional one; more than 1 extrapolates away from the latter.
    """
    return unconditional + guidance * (conditional - unconditional)


def stratified_times(
    count: int, steps: int, generator: torch.Generator, device: torch.device | str | None = None
) -> Tensor:
    """Random times (count,) int64, each uniform over the steps, together evenly spread.

    The mean loss of a batch then varies less (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).

    Args:
        count: number of times.
        steps: times of the model.
        generator: on `device`.
        device: of the result.
    """
    first = torch.rand((), generator=generator, device=device)
    fractions = (first + torch.arange(count, device=device) / count) % 1
    return (fractions * steps).long().clamp(max=steps - 1)


def _per_row(value: Tensor | float, x: Tensor) -> Tensor:
    """One value per row, shaped to multiply x (batch, ...)."""
    value = torch.as_tensor(value, device=x.device)
    value = value.to(x.dtype) if x.is_floating_point() else value
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value
