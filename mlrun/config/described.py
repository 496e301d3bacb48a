"""What a choice of a group consists of, for `mlrun show`: its keys with values, types and ranges, its own and inherited ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlrun.config import schema
from mlrun.config.catalogue import Entry
from mlrun.config.compose import compose
from mlrun.config.signatures import UNKNOWN, Signature, signature
from mlrun.config.sources import NoSuchTarget
from mlrun.config.values import describe, shown

# Arguments that the program gives, not the user.
_GIVEN = {"params", "optimizer", "spec", "problem", "name", "seed", "data_dir", "inputs", "targets", "target"}


@dataclass(frozen=True)
class Setting:
    """A key of a choice.

    Args:
        key: dotted, as on the command line.
        value: as it is composed.
        kinds: its type and range in words; empty if they are unknown.
        inherited: whether the choice's own YAML does not have it.
        internal: whether users rarely change it: metadata, `_target_`, arguments that no YAML lists.
        missing: whether it has no place in the configuration yet, so that a `+` is needed to set it.
    """

    key: str
    value: Any
    kinds: str
    inherited: bool = False
    internal: bool = False
    missing: bool = False


def settings(entry: Entry, config_dir: str | None = None) -> list[Setting]:
    """All settings of a choice. Raises what `compose` raises."""
    cfg = compose([f"{entry.group}={entry.name}"], config_dir)
    node = _plain(cfg.get(entry.group))
    if not isinstance(node, dict):
        return []
    own = {_without_package(key) for key in _dotted(entry.body)}
    return list(_settings(entry.group, node, own, entry.group, top=True))


def _plain(node: Any) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException:  # a value that must be given
        return OmegaConf.to_container(node, resolve=False)


def _dotted(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _dotted(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix


def _without_package(key: str) -> str:
    return key.partition("@")[0]


def _settings(path: str, node: dict, own: set[str], group: str, top: bool = False) -> Iterator[Setting]:
    takes = _signature(node.get("_target_"))
    for key, value in node.items():
        below = f"{path}.{key}"
        inside = below.removeprefix(f"{group}.")
        inherited = not any(
            one == inside or one.startswith(f"{inside}.") or inside.startswith(f"{one}.") for one in own
        )
        if isinstance(value, dict) and value and not _is_mapping_value(value):
            yield from _settings(below, value, own, group)
            continue
        internal = str(key).startswith("_") or (top and (key in schema.METADATA or inherited and group == "model"))
        yield Setting(below, value, _kinds(group, below, str(key), value, takes), inherited, internal)
    for parameter in takes.parameters if takes else ():
        if parameter.name not in node and not parameter.required and parameter.name not in _GIVEN:
            value = "?" if parameter.default is UNKNOWN else parameter.default
            words = describe(parameter.kinds) if parameter.kinds else ""
            yield Setting(f"{path}.{parameter.name}", value, words, internal=True, missing=True)


def _is_mapping_value(node: dict) -> bool:
    """Whether a mapping is one value, such as a split or a tokenizer, rather than a node with settings of its own."""
    return "_target_" not in node and all(not isinstance(value, dict) for value in node.values())


def _signature(target: Any) -> Signature | None:
    try:
        return signature(target) if isinstance(target, str) else None
    except NoSuchTarget:
        return None


def _kinds(group: str, path: str, key: str, value: Any, takes: Signature | None) -> str:
    """The type and range of a setting in words."""
    if path in schema.KEYS:
        return describe(schema.KEYS[path])
    parameter = takes.by_name.get(key) if takes else None
    kinds = describe(parameter.kinds) if parameter and parameter.kinds else ""
    allowed = schema.RANGES.get(key)
    if allowed is None or group not in schema.BELOW:
        return kinds
    words = f"each {allowed}" if isinstance(value, list) else str(allowed)
    return f"{words} or null" if "null" in kinds else words


def written(value: Any) -> str:
    """A value as on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(written(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    return shown(value)
