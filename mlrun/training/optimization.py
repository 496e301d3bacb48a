"""Optimizer, learning-rate schedule, and L1 and L2 penalties from the configuration.

Tasks with several optimizers call `optimizer` and `scheduler` once for each, with overrides such as `lr=2e-4`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlrun.config.instantiate import build, construct, plain
from mlrun.errors import ConfigError
from mlrun.networks.layers.torch_internals import add_each_, norm_each, sign_each

# torch's optimizers with a kernel that updates all parameters at once, and the devices that support it (torch 2.6-2.13).
FUSED: dict[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.SGD: {"cpu", "cuda"},
    torch.optim.Adam: {"cpu", "cuda"},
    torch.optim.AdamW: {"cpu", "cuda"},
    torch.optim.Adagrad: {"cpu"},
}

Parts = nn.Module | Iterable[nn.Parameter] | Iterable[Mapping[str, Any]]  # what an optimizer trains


@dataclass(frozen=True)
class Optimization:
    """The settings of a training's optimizers.

    Args:
        optim: the node `optim` of the configuration, a mapping with `_target_`.
        schedule: the node `scheduler`.
        l1: adds l1 * sum |w| to the loss.
        l2: adds l2 / 2 * sum w^2 to the loss.
        penalize_bias_and_norm: whether the penalties include biases and normalization layers.
        fused: whether fused kernels may be used. They must not with a gradient scaler (16-mixed on a GPU): a fused step
            unscales the gradients itself, which is too late for penalties and clipping. A sharded network (FSDP) does not support all of them.
    """

    optim: Mapping[str, Any]
    schedule: Mapping[str, Any] | None = None
    l1: float = 0.0
    l2: float = 0.0
    penalize_bias_and_norm: bool = False
    fused: bool = True

    def optimizer(self, parts: Parts, **overrides: Any) -> torch.optim.Optimizer:
        """A new optimizer. Frozen parameters are left out, and so are groups without any other parameter.

        Args:
            parts: a module, parameters, or groups `{"params": module or parameters, "lr": ...}`, see
                `mlrun.adapt.adaptation.Adaptation.parameter_groups`.
            **overrides: settings that replace those of the configuration, except where they are None.

        Raises:
            ConfigError: if torch rejects the settings, or nothing is left to train.
        """
        groups = _trainable_groups(parts)
        if not groups:
            raise ConfigError("nothing to train: every parameter is frozen, or there is none")
        node = plain(self.optim) or {}
        node = node | {name: plain(value) for name, value in overrides.items() if value is not None}
        make = build(node | {"_partial_": True}, path="optim")
        if make is None:
            raise ConfigError("optim: training by gradient descent needs an optimizer, e.g. optim=adam")
        settings = {name: _as_tuple(value) for name, value in make.keywords.items()}
        if not {"fused", "foreach", "differentiable"} & settings.keys():
            settings |= self._kernel(make.func, [p for group in groups for p in group["params"]])
        return construct("optim", node["_target_"], make, groups, **settings)

    def _kernel(self, target: Any, parameters: list[Tensor]) -> dict[str, bool]:
        """`fused` where the class supports it on these devices, else `foreach`: the step takes much of a small network's time."""
        devices = {p.device.type for p in parameters}
        if self.fused and devices <= FUSED.get(target, set()) and all(p.is_floating_point() for p in parameters):
            return {"fused": True}
        if "foreach" in inspect.signature(target).parameters and devices <= {"cpu", "cuda"}:
            return {"foreach": True}
        return {}

    def scheduler(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: float | None,
        total_epochs: int | None,
        monitor: str = "val/loss",
        mode: str = "min",
    ) -> dict[str, Any] | None:
        """The schedule of an optimizer as Lightning's `lr_scheduler` dictionary; None if none is configured.

        Args:
            optimizer: whose learning rates it changes.
            total_steps: Lightning's `trainer.estimated_stepping_batches`; infinite, -1 or None: open-ended, which schedules
                that need the length reject.
            total_epochs: Lightning's `trainer.max_epochs`, open-ended as `total_steps`.
            monitor: metric that a plateau schedule watches.
            mode: "min" or "max", whichever is better.

        Raises:
            ConfigError: if the settings do not fit.
        """
        node = dict(plain(self.schedule) or {})
        if node.get("_target_") is None:
            return None
        interval = node.pop("interval", "epoch")
        if interval not in ("epoch", "step"):
            raise ConfigError(f"scheduler.interval={interval}: must be epoch or step")
        steps, epochs = _length(total_steps), _length(total_epochs)
        total = steps if interval == "step" else epochs
        facts = {"total": total, "total_steps": steps, "total_epochs": epochs, "mode": mode}
        if total is not None:
            facts["T_max"] = total  # the name in CosineAnnealingLR, which accepts None and fails later
        make = build(node | {"_partial_": True}, facts, path="scheduler")
        try:
            schedule = construct("scheduler", node["_target_"], make, optimizer, **make.keywords)
        except ConfigError as error:
            if total is None and "trainer.max_epochs" not in str(error):
                raise ConfigError(f"{error} (the length of this run is open: set trainer.max_epochs)") from error
            raise
        result = {"scheduler": schedule, "interval": interval, "frequency": 1}
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            result["monitor"] = monitor
        return result

    def add_penalty_gradients(self, module: nn.Module) -> None:
        """Adds l2 * w + l1 * sign(w), the gradient of `penalty`, to the gradients, right before the optimizer's step.

        Parameters without a gradient are not part of this step and stay untouched.
        """
        if not (self.l1 or self.l2):
            return
        weights = [w for w in self.penalized(module) if w.grad is not None]
        gradients = [w.grad for w in weights if w.grad is not None]
        if not weights:
            return
        with torch.no_grad():
            if self.l2:
                add_each_(gradients, weights, alpha=self.l2)
            if self.l1:
                add_each_(gradients, sign_each(weights), alpha=self.l1)

    @torch.no_grad()
    def penalty(self, module: nn.Module) -> Tensor:
        """l1 * sum |w| + l2 / 2 * sum w^2 over `penalized(module)`, a scalar without gradient, for reporting."""
        weights = self.penalized(module)
        if not weights or not (self.l1 or self.l2):
            return torch.zeros((), device=weights[0].device if weights else None)
        total = torch.zeros((), device=weights[0].device)
        if self.l1:
            total += self.l1 * torch.stack(norm_each(weights, 1)).sum()
        if self.l2:
            total += self.l2 / 2 * torch.stack(norm_each(weights, 2)).square().sum()
        return total

    def penalized(self, module: nn.Module) -> list[nn.Parameter]:
        """Trainable parameters; without `penalize_bias_and_norm` neither biases nor those of normalization layers."""
        found: dict[nn.Parameter, None] = {}  # an ordered set: tied weights count once
        for layer in module.modules():
            if not self.penalize_bias_and_norm and _is_norm(layer):
                continue
            for name, parameter in layer.named_parameters(recurse=False):
                if parameter.requires_grad and (self.penalize_bias_and_norm or "bias" not in name):
                    found[parameter] = None
        return list(found)


def _is_norm(layer: nn.Module) -> bool:
    return "Norm" in type(layer).__name__  # by name, which also finds the normalization layers of other libraries


def _trainable_groups(parts: Parts) -> list[dict[str, Any]]:
    """Groups of the parameters that are not frozen, without empty ones."""
    groups: list[dict[str, Any]] = [{"params": parts}]
    if not isinstance(parts, nn.Module):
        items = list(parts)
        groups = [dict(item) for item in items if isinstance(item, Mapping)] or [{"params": items}]
    groups = [{**group, "params": _trainable(group["params"])} for group in groups]
    return [group for group in groups if group["params"]]


def _trainable(part: nn.Module | nn.Parameter | Iterable[nn.Parameter]) -> list[nn.Parameter]:
    if isinstance(part, nn.Module):
        part = part.parameters()
    elif isinstance(part, nn.Parameter):
        part = [part]
    return [parameter for parameter in part if parameter.requires_grad]


def _as_tuple(value: Any) -> Any:
    """torch takes pairs such as `betas` as tuples of floats, which YAML lacks."""
    if isinstance(value, (list, tuple)):
        return tuple(float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in value)
    return value


def _length(total: float | None) -> int | None:
    return None if total is None or total < 0 or math.isinf(total) else int(total)
