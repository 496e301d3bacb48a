"""Names of parts in configurations and messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlrun.adapt.target import Target
from mlrun.config.validate import nearest
from mlrun.errors import ConfigError

SHOWN = 6  # names in a message


def some(names: Sequence[str], most: int = SHOWN) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def names_of(value: Any, key: str) -> list[str] | None:
    """A list of names from the configuration; one name stands for itself."""
    names = [value] if isinstance(value, str) else value
    if names is not None and not (isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)):
        raise ConfigError(f"{key}={value}: must be a list of names")
    return None if names is None else list(names)


def no_such_part(pattern: str, target: Target) -> str:
    """A message about a pattern that no part matches, with the nearest name."""
    parts = target.parts()
    return f"no part is named {pattern}{nearest(pattern, parts)} (parts are {', '.join(parts)})"
