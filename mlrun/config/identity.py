"""The part of a configuration that determines a run's result: as a dictionary, as a hash and as flat parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

GRADIENT_DESCENT = ("optim", "scheduler", "trainer")  # groups that an estimator ignores
FOLDING = ("folds", "repeats", "group")  # keys of trainer=kfold, which apply to every model
STORAGE = ("tracking", "data_dir", "trust")
# Settings that a resumed run can change: how long, where and how it computes, not what.
CHANGEABLE = (
    "trainer.max_epochs", "trainer.min_steps", "trainer.max_steps", "trainer.max_time", "trainer.early_stopping_patience", "trainer.keep", "trainer.accelerator", "trainer.threads",
    "trainer.auto_batch", "trainer.fast_loop", "trainer.compile", "trainer.profile",
    "model.figures", "model.evaluators", "dataset.num_workers", "dataset.resident_limit", "data_dir", "tracking.run_name", "trust",
)  # fmt: skip


def is_network(model: Mapping[str, Any]) -> bool:
    """Whether a model's configuration names a task (a network) rather than estimators."""
    return model.get("_target_") is not None


def relevant(cfg: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that determines the result, without storage and without what an estimator ignores."""
    ignored = STORAGE if is_network(cfg["model"]) else (*STORAGE, *GRADIENT_DESCENT)
    kept = {key: value for key, value in cfg.items() if key not in ignored}
    folding = {
        key: cfg["trainer"][key] for key in FOLDING if (cfg.get("trainer") or {}).get("folds") and key in cfg["trainer"]
    }
    return {"trainer": folding, **kept} if folding else kept


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
