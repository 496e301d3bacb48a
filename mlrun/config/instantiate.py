"""The one helper around Hydra's `instantiate`: objects from YAML, with what only the data know filled in by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlrun.config.signatures import signature
from mlrun.errors import ConfigError

METADATA = frozenset(  # said about a model or dataset, never passed to it
    {
        "name",
        "fits",
        "facts",
        "max_epochs",
        "keep",
        "min_image_size",
        "pixel_range",
        "init_from",
        "init_only",
        "freeze",
        "unfreeze_every",
        "lr_scale",
        "gradient_clip_val",
        "suggested_lr",
        "suggested_batch_size",
    }
)


def plain(node: Any) -> Any:
    """A node as dicts and lists, interpolations resolved: what may be stored in a checkpoint."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def fill(node: Any, facts: Mapping[str, Any], path: str = "") -> Any:
    """A plain copy of `node` in which every required argument that it does not give is taken from `facts` by name.

    Raises ConfigError for a required argument that neither gives.
    """
    node = plain(node)
    if isinstance(node, list):
        return [fill(item, facts, f"{path}[{i}]") for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    filled = {key: fill(value, facts, f"{path}.{key}" if path else str(key)) for key, value in node.items()}
    if not isinstance(node.get("_target_"), str):
        return filled
    arguments = signature(node["_target_"])
    missing = [p.name for p in arguments.parameters if p.required and p.name not in filled] if arguments else []
    absent = [name for name in missing if name not in facts]
    if absent and not node.get("_partial_"):
        raise ConfigError(
            f"{path or 'config'}: {node['_target_']} needs {', '.join(absent)}, which neither the YAML nor the dataset gives "
            f"(the dataset gives {', '.join(sorted(facts)) or 'nothing'})."
        )
    filled.update((name, facts[name]) for name in missing if name in facts)
    return filled


def without_metadata(node: DictConfig | dict) -> dict:
    return {key: value for key, value in plain(node).items() if key not in METADATA}


def instantiate(node: dict) -> Any:
    """The object that a filled node describes. Errors of the target's own constructor become a ConfigError that names it."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    try:
        return hydra_instantiate(OmegaConf.create(node, flags={"allow_objects": True}), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (ValueError, TypeError)):
            raise ConfigError(f"{node.get('_target_')}: {cause}") from error
        if cause is not None and not isinstance(cause, ImportError):
            raise cause from None
        raise ConfigError(str(error)) from error


def build(node: DictConfig | dict | None, facts: Mapping[str, Any] | None = None, path: str = "") -> Any:
    """`instantiate(fill(node, facts))`; None for an empty node or one whose `_target_` is null."""
    if not node or node.get("_target_") is None:
        return None
    return instantiate(fill(without_metadata(node), facts or {}, path))
