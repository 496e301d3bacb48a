"""Composes the configurations of a sweep's jobs."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlrun.config.hydra_internals import parse_overrides, replace_values

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

    from mlrun.config.hydra_internals import Override

KEPT = 64  # compositions


class Composer:
    """Jobs that differ only in the values of the same keys share one composition: Hydra takes a quarter of a second for each.

    Args:
        context: Hydra's.
        config: Hydra's configuration of the sweep.
    """

    def __init__(self, context: HydraContext, config: DictConfig):
        self.loader, self.config = context.config_loader, config
        self._groups = set(self.loader.list_groups(""))
        self._compositions = OrderedDict[tuple[str, ...], bytes]()

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job with the node `hydra`. Raises Hydra's errors if the overrides are invalid."""
        parsed = parse_overrides(overrides, self.loader)
        settings = [override for override in parsed if not self._is_choice(override)]
        values = [override for override in settings if _replaces(override)]
        if not values or _overlap(settings):
            return self.loader.load_sweep_config(self.config, list(overrides))
        kind = tuple(override.key_or_group if override in values else str(override.input_line) for override in parsed)
        if kind in self._compositions:
            self._compositions.move_to_end(kind)
            config = pickle.loads(self._compositions[kind])
            if replace_values(config, parsed, values):
                return config
        config = self.loader.load_sweep_config(self.config, list(overrides))
        self._compositions[kind] = pickle.dumps(config)
        if len(self._compositions) > KEPT:
            self._compositions.popitem(last=False)
        return config

    def _is_choice(self, override: Override) -> bool:
        """Whether it may choose a member of a group."""
        key = override.key_or_group
        return key in self._groups or "/" in key or override.package is not None


def _replaces(override: Override) -> bool:
    """Whether a setting is replaced, and nothing else happens. Mappings do not replace, they are merged."""
    plain = not (override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override())
    return plain and not override.is_hydra_override() and not isinstance(override.value(), dict)


def _overlap(settings: Sequence[Override]) -> bool:
    """Whether one of the keys is, or is part of, another one, so that their order matters."""
    keys = sorted(f"{override.key_or_group}." for override in settings)
    return any(after.startswith(before) for before, after in zip(keys, keys[1:]))
