"""Where weights come from: a run, a checkpoint, a file of tensors, torchvision's published models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mlrun.adapt.target import SINGLE, Target
from mlrun.data.readers.tensors import WEIGHTS, load_tensors
from mlrun.errors import ConfigError, UserError

Find = Callable[[str], "Path | None"]  # MLflow run id -> directory of its model or file with its weights; None: unknown
TORCHVISION = "torchvision:"
RECIPE = "recipe.json"
ADAPTER_OF = "adapter_of"  # key of a checkpoint that holds the trained parameters alone: the sources of the others


def find_weights(source: str, find: Find | None = None, key: str = "model.init_from") -> Path:
    """The file with the weights of a run directory, an MLflow run or a file.

    Args:
        source: directory of a run or of a saved model, checkpoint, file of tensors, or id of an MLflow run.
        find: looks up the id of an MLflow run.
        key: the configuration key that error messages name.

    Raises:
        ConfigError: if there is no such file or run.
    """
    path = Path(source).expanduser()
    weights = _weights_at(path)
    if weights is not None:
        return weights
    if find is not None and re.fullmatch("[0-9a-f]{32}", source):
        found = find(source)
        weights = None if found is None else _weights_at(found)
        if weights is None:
            raise ConfigError(f"{key}={source}: that run has no checkpoint, or there is no such run")
        return weights
    raise ConfigError(
        f"{key}={source}: no such file, and no run directory with model/{WEIGHTS}; "
        "give a run's directory or MLflow id, a .ckpt, .safetensors or .pt file, or torchvision:NAME"
    )


def _weights_at(path: Path) -> Path | None:
    candidates = (path / "model" / WEIGHTS, path / WEIGHTS, path / "checkpoints" / "best.ckpt", path)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def recipe_beside(weights: Path) -> dict[str, Any]:
    """The recipe of the run that wrote the weights; empty where there is none beside them. Raises ConfigError for a damaged one."""
    for recipe in (weights.with_name(RECIPE), weights.parent.parent / "model" / RECIPE):
        if recipe.is_file():
            try:
                content = json.loads(recipe.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise ConfigError(f"{recipe} cannot be read: {' '.join(str(error).split())[:200]}") from None
            if not isinstance(content, dict):
                raise ConfigError(f"{recipe} is damaged: it does not describe a model")
            return content
    return {}


def classes_of(recipe: Mapping[str, Any]) -> list[Any] | None:
    """The classes for which a model was trained, in the order of its outputs; empty for other problems, None if not recorded."""
    if "labels" in recipe:  # as earlier versions stored them
        return recipe["labels"]
    if "targets" not in recipe:
        return None
    return next((feature["classes"] for feature in recipe["targets"].values() if "classes" in feature), [])


def stored_tensors(weights: Path, target: Target, trust: bool = False) -> dict[str, Tensor]:
    """The tensors by name of a Lightning checkpoint, of a task's state, or of the state of a bare network.

    Raises:
        UserError: if the file is damaged, can run code and is not trusted, or holds a part of a network only.
    """
    content = load_tensors(weights, trust)
    if isinstance(content, dict) and ADAPTER_OF in content:
        raise UserError(
            f"{weights} holds only what a run that starts from {', '.join(content[ADAPTER_OF])} has trained. Its model holds the whole "
            f"network: let that run end (mlrun resume), then give its directory"
        )
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{weights} holds no tensors by name: neither a checkpoint nor the state of a network")
    if target.prefix and not any(name.startswith(target.prefix) for name in state):
        return {f"{target.prefix}{name}": tensor for name, tensor in state.items()}
    return dict(state)


def torchvision_tensors(name: str, target: Target, key: str = "model.init_from") -> dict[str, Tensor]:
    """torchvision's published tensors under the names of the task's only network.

    They are matched by order: both list the same layers in the same order, under different names.

    Raises:
        ConfigError: if torchvision is missing, knows no such model, or has other layers.
    """
    if not target.prefix:
        raise ConfigError(
            f"{key}={TORCHVISION}{name}: published weights are for a model with one network, this one has {len(target.networks)}"
        )
    try:
        from torchvision.models import get_model
    except ImportError as error:
        raise ConfigError(
            f"{key}={TORCHVISION}{name} needs torchvision, which is not installed ({error}): pip install 'mlrun[vision]'; "
            "with a CPU-only torch, install its CPU build"
        ) from None
    try:
        published = get_model(name, weights="DEFAULT").state_dict()
    except ValueError as error:
        raise ConfigError(f"{key}={TORCHVISION}{name}: {error}") from None
    return _matched_by_order(published, target.networks[SINGLE], f"{key}={TORCHVISION}{name}")


def _matched_by_order(published: Mapping[str, Tensor], network: nn.Module, where: str) -> dict[str, Tensor]:
    own = network.state_dict()
    pairs = list(zip(own.items(), published.items()))
    wrong = [name for (name, a), (_, b) in pairs if a.shape != b.shape and not name.startswith("head.")]
    if len(own) != len(published) or wrong:
        raise ConfigError(
            f"{where}: its layers differ from those of this network"
            + (f" (first at {wrong[0]})" if wrong else "")
            + "; the header of the model's YAML gives the settings for the paper's size"
        )
    return {f"{SINGLE}.{name}": tensor for (name, _), (_, tensor) in pairs}
