"""The part of a configuration that determines a run's result: as a dictionary, as a hash and as flat parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

GRADIENT_DESCENT = ("optim", "scheduler", "trainer")  # groups that an estimator ignores
FOLDING = ("folds", "repeats", "group")  # keys of trainer=kfold, which apply to every model
STORAGE = ("tracking", "data_dir", "trust")
INTERNAL = ("fits", "facts", "evaluators", "extra_evaluators", "figures")  # parts of keys
NAMED = ("model._target_", "dataset._target_")  # classes of mlrun that the names of model and dataset stand for
ROLE_OF = {
    "classifier": "classification",
    "regressor": "regression",
}  # role of an estimator -> the problem that it solves
# settings of every model or dataset, with the value that has no effect
USUAL = {"model.freeze": "none", "model.weights_policy": "offline", "dataset.num_workers": 0, "dataset.augment": []}
_NOTHING = object()
NEUTRAL = {"model": ("family",), "trainer": ("upload_checkpoints",)}  # keys by group that cannot change a result
# Settings that a resumed run can change: how long, where and how it computes, not what.
CHANGEABLE = (
    "trainer.max_epochs", "trainer.min_steps", "trainer.max_steps", "trainer.max_time", "trainer.early_stopping_patience", "trainer.keep", "trainer.accelerator", "trainer.threads",
    "trainer.auto_batch", "trainer.fast_loop", "trainer.compile", "trainer.profile", "trainer.upload_checkpoints",
    "trainer.callbacks", "trainer.loggers", "model.figures", "model.evaluators", "model.extra_evaluators", "dataset.num_workers", "dataset.resident_limit", "data_dir", "tracking.run_name", "trust",
)  # fmt: skip


def is_network(model: Mapping[str, Any]) -> bool:
    """Whether a model's configuration names a task (a network) rather than estimators."""
    return model.get("_target_") is not None


def relevant(cfg: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that determines the result, without storage and without what an estimator ignores."""
    ignored = STORAGE if is_network(cfg["model"]) else (*STORAGE, *GRADIENT_DESCENT)
    kept = {key: _without(value, NEUTRAL.get(key, ())) for key, value in cfg.items() if key not in ignored}
    folding = {
        key: cfg["trainer"][key] for key in FOLDING if (cfg.get("trainer") or {}).get("folds") and key in cfg["trainer"]
    }
    return {"trainer": folding, **kept} if folding else kept


def _without(node: Any, names: tuple[str, ...]) -> Any:
    return {key: value for key, value in node.items() if key not in names} if isinstance(node, dict) else node


def parameters(cfg: dict[str, Any], problem: str | None) -> dict[str, Any]:
    """The dotted settings of a run that a person compares: without lists of metrics and figures, and settings that are not used.

    Args:
        cfg: the configuration.
        problem: of the data; "auto" or None while it is not known, which leaves out the estimators of all problems.
    """
    unused = [
        f"model.{role}."
        for role, own in ROLE_OF.items()
        if own != problem and len(ROLE_OF.keys() & cfg["model"].keys()) > 1
    ]
    return {
        key: value
        for key, value in flatten(relevant(cfg)).items()
        if value is not None
        and USUAL.get(key, _NOTHING) != value
        and not any(part in INTERNAL for part in key.split("."))
        and not key.startswith(tuple(unused))
        and not (key in NAMED and str(value).startswith("mlrun."))
    }


def identity(cfg: dict[str, Any]) -> str:
    """A hash that is equal for runs that must give the same result."""
    return hashlib.sha256(json.dumps(relevant(cfg), sort_keys=True, default=str).encode()).hexdigest()[:16]


def lasting_identity(cfg: dict[str, Any]) -> str:
    """A hash that is equal for a run and its continuations, whichever of the `CHANGEABLE` settings they change."""
    rest = {key: value for key, value in flatten(relevant(cfg)).items() if key not in CHANGEABLE}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()[:16]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one: `{"optim.lr": 0.1, ...}`. Lists stay whole."""
    if isinstance(node, dict):
        return {
            key: value
            for name, child in node.items()
            for key, value in flatten(child, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {prefix: node}
