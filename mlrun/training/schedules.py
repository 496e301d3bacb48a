"""Learning-rate schedules that torch lacks, or whose arguments depend on the run.

A schedule multiplies the learning rate of every parameter group by a factor that depends on t, the number of finished
intervals (t = 0 during the first one). An interval is an epoch or an update, as `interval` in the YAML states. Arguments
that depend on the run are filled in by name: `total` (intervals in the whole run, None if that is not known) and `mode`
("min" or "max" of the watched metric).
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau


def inverse_time(optimizer: Optimizer, rate: float = 0.1) -> LambdaLR:
    """factor(t) = 1 / (1 + rate * t)."""
    _require(rate >= 0, f"rate={rate} must not be negative")
    return LambdaLR(optimizer, lambda t: 1 / (1 + rate * t))


def inverse_sqrt(optimizer: Optimizer, k: float = 1.0) -> LambdaLR:
    """factor(t) = k / sqrt(t + 1): intervals are counted from 1."""
    _require(k > 0, f"k={k} must be positive")
    return LambdaLR(optimizer, lambda t: k / math.sqrt(t + 1))


def manual(
    optimizer: Optimizer, milestones: Sequence[int], values: Sequence[float], absolute: bool = False
) -> LambdaLR:
    """From interval `milestones[i]` on the factor is `values[i]`; before the first milestone it is 1.

    With `absolute` the values are learning rates, the same for all parameter groups.
    """
    _require(len(milestones) == len(values), f"{len(milestones)} milestones, but {len(values)} values")
    _require(list(milestones) == sorted(set(milestones)), f"milestones={list(milestones)} must increase")
    _require(all(value >= 0 for value in values), f"values={list(values)} must not be negative")

    def factor(rate: float) -> Callable[[int], float]:
        factors = [1.0, *(value / rate if absolute else value for value in values)]
        return lambda t: factors[bisect_right(milestones, t)]

    return LambdaLR(optimizer, [factor(group["lr"]) for group in optimizer.param_groups])


def warmup_linear(optimizer: Optimizer, total: int, warmup: float = 0.1, final: float = 0.0) -> LambdaLR:
    """Linear warm-up over `warmup` intervals (below 1: a fraction of the run), then linear decay to `final` at its end."""
    return _warmup_decay(optimizer, total, warmup, final, lambda progress: 1 - progress)


def linear_decay(optimizer: Optimizer, total: int, start: float = 0.5, final: float = 0.0) -> LambdaLR:
    """The optimizer's own rate for the fraction `start` of the run, then linear decay to `final` at its end."""
    _require_total(total, "linear_decay")
    _require(0 <= start < 1, f"start={start} must lie between 0 and 1")
    return LambdaLR(optimizer, lambda t: 1 - (1 - final) * min(1.0, max(0.0, (t / total - start) / (1 - start))))


def warmup_cosine(optimizer: Optimizer, total: int, warmup: float = 0.1, final: float = 0.0) -> LambdaLR:
    """Linear warm-up over `warmup` intervals (below 1: a fraction of the run), then half a cosine to `final` at its end."""
    return _warmup_decay(optimizer, total, warmup, final, lambda progress: (1 + math.cos(math.pi * progress)) / 2)


def warmup_inverse_sqrt(optimizer: Optimizer, total: int | None, warmup: float = 0.1) -> LambdaLR:
    """With s = t + 1 and w warm-up intervals: factor = min(s / w, sqrt(w / s)), at most 1, reached at s = w.

    The same as lr = d_model**-0.5 * min(s**-0.5, s * w**-1.5) of Vaswani et al. 2017, section 5.3, with
    optim.lr = (d_model * w)**-0.5.
    """
    w = max(1, _warmup_intervals(warmup, total))
    return LambdaLR(optimizer, lambda t: min((t + 1) / w, math.sqrt(w / (t + 1))))


def plateau(
    optimizer: Optimizer,
    mode: Literal["min", "max"],
    factor: float = 0.5,
    patience: int = 3,
    threshold: float = 0.0,
    cooldown: int = 0,
    min_lr: float = 0.0,
) -> ReduceLROnPlateau:
    """Multiplies by `factor` once the watched metric has not improved for more than `patience` intervals.

    An improvement is a difference of more than `threshold`. With torch's default, a relative threshold, a negative metric
    that does not change would count as improving.
    """
    return ReduceLROnPlateau(
        optimizer,
        mode,
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode="abs",
        cooldown=cooldown,
        min_lr=min_lr,
    )


def one_cycle(
    optimizer: Optimizer,
    total: int,
    warmup: float = 0.3,
    start_factor: float = 0.04,
    final_factor: float = 4e-6,
    anneal: Literal["cos", "linear"] = "cos",
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
) -> OneCycleLR:
    """From `start_factor` up to 1 over the fraction `warmup` of the run, then down to `final_factor`.

    Momentum (or beta1) moves the other way, from `max_momentum` to `base_momentum` and back, if the optimizer uses it:
    plain SGD stays plain SGD.
    """
    _require_total(total, "one_cycle")
    _require(0 < warmup < 1, f"warmup={warmup} must lie between 0 and 1")
    _require(0 < final_factor <= start_factor <= 1, "0 < final_factor <= start_factor <= 1 must hold")
    has_momentum = all(group.get("momentum", 0) or group.get("betas", (0,))[0] for group in optimizer.param_groups)
    # torch's first phase ends at interval warmup * total - 1, and it divides by that
    at_zero = warmup * total == 1
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total,
        pct_start=warmup * (1 + 1e-9) if at_zero else warmup,
        anneal_strategy=anneal,
        cycle_momentum=bool(has_momentum),
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        div_factor=1 / start_factor,
        final_div_factor=start_factor / final_factor,
    )


def _warmup_decay(
    optimizer: Optimizer, total: int, warmup: float, final: float, decay: Callable[[float], float]
) -> LambdaLR:
    """(t + 1) / w for t < w, then final + (1 - final) * decay(p), with p from 0 at t = w to 1 at t = total."""
    _require_total(total, "a warm-up followed by a decay")
    _require(0 <= final <= 1, f"final={final} must lie between 0 and 1")
    w = _warmup_intervals(warmup, total)
    if w >= total > 1:
        message = (
            f"the warm-up of {w} intervals is as long as the run or longer ({total}): the learning rate never decays"
        )
        warnings.warn(message, stacklevel=2)

    def factor(t: int) -> float:
        if t < w:
            return (t + 1) / w
        return final + (1 - final) * decay(min(1.0, (t - w) / max(1, total - w)))

    return LambdaLR(optimizer, factor)


def _warmup_intervals(warmup: float, total: int | None) -> int:
    _require(warmup >= 0, f"warmup={warmup} must not be negative")
    if warmup >= 1:
        return int(warmup)
    if warmup > 0:
        _require_total(total, f"warmup={warmup}, a fraction of the run,")
    return round(warmup * (total or 0))


def _require_total(total: int | None, what: str) -> None:
    _require(total is not None, f"{what} needs to know the length of the run: set trainer.max_epochs")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
