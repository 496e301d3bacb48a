"""Gaussian diffusion as formulas: noise schedules, what is predicted, and the steps back from noise to data.

Symbols of Ho, Jain and Abbeel 2020 (arXiv:2006.11239), "DDPM", with time counted from 0 to steps - 1 as arrays are:
x_0 data, x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, eps ~ N(0, I). Before the first step alpha_bar is 1.
Everything here is without state: tensors in, tensors out.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["linear", "cosine"]
Prediction = Literal["noise", "v"]


def alpha_bars(schedule: Schedule, steps: int) -> Tensor:
    """(steps,) float64, falling from nearly 1 to nearly 0: the share of the data's variance that is left after each step.

    linear: betas from 1e-4 to 0.02 at 1000 steps (Ho et al. 2020), scaled so that fewer steps end at the same noise;
    cosine: alpha_bar_t = f(t) / f(0), f(t) = cos^2((t / steps + s) / (1 + s) * pi / 2), s = 0.008 (Nichol & Dhariwal 2021).
    No beta is larger than 0.999, so that the last step keeps a trace of the data.
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
        raise ValueError(f"schedule={schedule!r}: known are linear, cosine")
    return torch.cumprod(1 - betas.clamp(max=0.999), 0)


def diffuse(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t of DDPM eq. 4. x0, noise: (batch, ...); alpha_bar: (batch,) or a single value."""
    alpha_bar = _beside(alpha_bar, x0)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def target(prediction: Prediction, x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """What the network is to predict: the noise, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0
    (Salimans & Ho 2022, arXiv:2202.00512, appendix D), which stays informative where x_t is nearly all noise."""
    if prediction == "noise":
        return noise
    alpha_bar = _beside(alpha_bar, x0)
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0


def denoised(prediction: Prediction, output: Tensor, xt: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """(x_0, noise) that the network's output means for x_t."""
    alpha_bar = _beside(alpha_bar, xt)
    signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction == "noise":
        return (xt - spread * output) / signal, output
    return signal * xt - spread * output, spread * xt + signal * output


def posterior(x0: Tensor, xt: Tensor, alpha_bar: Tensor, alpha_bar_before: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (batch, ...) and variance of q(x_s | x_t, x_0), s the step visited before t on the way to noise (DDPM eq. 6, 7).

    alpha = alpha_bar_t / alpha_bar_s, so that s may also be several steps away (Nichol & Dhariwal 2021, section 4).
    """
    alpha_bar, before = _beside(alpha_bar, x0), _beside(alpha_bar_before, x0)
    alpha = alpha_bar / before
    mean = (before.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - before) * xt) / (1 - alpha_bar)
    return mean, (1 - before) / (1 - alpha_bar) * (1 - alpha)


def implicit(
    x0: Tensor, noise: Tensor, alpha_bar: Tensor, alpha_bar_before: Tensor, eta: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the step of DDIM (Song, Meng and Ermon 2021, arXiv:2010.02502, eq. 12 and 16).

    eta 0: nothing is drawn, the sample is a function of the first noise; eta 1: the posterior of DDPM.
    """
    alpha_bar, before = _beside(alpha_bar, x0), _beside(alpha_bar_before, x0)
    variance = eta**2 * (1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)
    return before.sqrt() * x0 + (1 - before - variance).clamp(min=0).sqrt() * noise, variance


def visited(steps: int, count: int | None) -> list[int]:
    """Times that sampling visits, from the last to 0: all, or `count` of them, evenly spread with both ends."""
    count = steps if count is None else min(count, steps)
    if count < 1:
        raise ValueError(f"sampling steps {count}: at least 1 is needed")
    if count == 1:
        return [steps - 1]
    return [round(step * (steps - 1) / (count - 1)) for step in reversed(range(count))]


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): 1 is the conditional model itself, 0 the unconditional one,
    more than 1 leads away from what the model would draw without a label. (Their w is guidance - 1.)"""
    return unconditional + guidance * (conditional - unconditional)


def spread_times(count: int, steps: int, generator: torch.Generator, device=None) -> Tensor:
    """(count,) int64 times, each uniform over the steps, together evenly spread: the mean loss of a batch varies less
    (Kingma et al. 2021, arXiv:2107.00630, appendix I.1)."""
    first = torch.rand((), generator=generator, device=device)
    at = (first + torch.arange(count, device=device) / count) % 1
    return (at * steps).long().clamp(max=steps - 1)


def _beside(value: Tensor, x: Tensor) -> Tensor:
    """One value per row, shaped to multiply x."""
    value = torch.as_tensor(value, device=x.device)
    value = value.to(x.dtype) if x.is_floating_point() else value
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value
