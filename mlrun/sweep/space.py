"""The search space: Hydra's sweep grammar, on the command line or in YAML, as choices and ranges.

    choice(a, b) | a,b              one of these
    range(16, 129, 16)              a number on a grid
    interval(0.0, 0.5)              a real number; int(interval(1, 8)) a whole one
    tag(log, interval(1e-5, 1e-1))  its logarithm is uniform
    tag(one_minus_log, interval(0.8, 0.999))   the logarithm of 1 - x is uniform: momentum, decay rates

In YAML a mapping `when KEY=VALUE: {...}` holds settings that exist only with that choice of another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlrun.config.hydra_internals import parse_override
from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

    from mlrun.config.hydra_internals import Override

Condition = tuple[tuple[str, str], ...]  # (key, value) pairs that must have been chosen

TAGS = {"log", "one_minus_log"}
WHEN = "when "


@dataclass(frozen=True)
class Setting:
    """One searched key."""

    key: str
    kind: str  # "choice", "int" or "float"
    choices: tuple[str, ...] = ()  # as they are written in overrides
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False  # the logarithm is uniform
    one_minus: bool = False  # the logarithm of 1 - value is uniform
    condition: Condition = ()

    def suggest(self, trial: Trial) -> str:
        """Draws a value from an Optuna trial, as text for an override."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.key, list(self.choices))
        if self.kind == "int":
            return str(
                trial.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
            )
        if self.one_minus:  # six digits of the distance to 1
            distance = f"{trial.suggest_float(f'1 - {self.key}', 1 - self.high, 1 - self.low, log=True):.6g}"
            return f"{1 - float(distance):.15g}"
        return f"{trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log):.6g}"

    def corners(self) -> list[str]:
        """Every choice, or both ends of the range, as text for overrides."""
        if self.kind == "choice":
            return list(self.choices)
        if self.kind == "int":
            return [str(int(value)) for value in (self.low, self.high)]
        return [f"{value:.15g}" for value in (self.low, self.high)]

    def grid(self) -> list[str] | list[int]:
        """All values as Optuna's parameters, for an exhaustive search. Raises ConfigError for a continuous range."""
        if self.kind == "choice":
            return list(self.choices)
        if self.kind == "int" and not self.log:
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        raise ConfigError(f"{self.key}: a grid needs choices or a range, not an interval")


@dataclass
class Space:
    """What a search varies."""

    fixed: list[str] = field(default_factory=list)  # overrides that all trials share
    settings: list[Setting] = field(default_factory=list)  # a setting comes after those of its condition

    def suggest(self, trial: Trial) -> list[str]:
        """Draws the overrides of one trial."""
        chosen: dict[str, str] = {}
        for setting in self.settings:
            if all(chosen.get(key) == value for key, value in setting.condition):
                chosen[setting.key] = setting.suggest(trial)
        return [*self.fixed, *(f"{key}={value}" for key, value in chosen.items())]

    def combinations(self) -> list[dict[str, Any]]:
        """Optuna's parameters of every combination; conditional settings occur only where they apply. Raises ConfigError."""
        found: list[dict[str, Any]] = [{}]
        for setting in self.settings:
            values = setting.grid()
            found = [
                {**chosen, **({setting.key: value} if applies else {})}
                for chosen in found
                for applies in [all(str(chosen.get(key)) == wanted for key, wanted in setting.condition)]
                for value in (values if applies else values[:1])
            ]
        return found

    def samples(self) -> list[list[str]]:
        """Overrides in which every choice and both ends of every range occur, with the choices on which they depend."""
        first = {setting.key: setting.corners()[0] for setting in self.settings if not setting.condition}
        found = []
        for setting in self.settings:
            for value in setting.corners():
                chosen = {**first, **dict(setting.condition), setting.key: value}
                found.append([*self.fixed, *(f"{key}={text}" for key, text in chosen.items())])
        return found


def parse_space(params: Mapping[str, Any] | None, arguments: Sequence[str]) -> Space:
    """Reads the search space.

    Args:
        params: `hydra.sweeper.params`.
        arguments: overrides on the command line, which take precedence.

    Raises:
        ConfigError: a range is empty, a tag or a condition is unknown.
    """
    space = Space()
    given = [parse_override(text) for text in arguments]
    overridden = {override.get_key_element() for override in given}
    for override in given:
        _add(space, override, ())
    _read(space, params or {}, (), overridden)
    fixed = dict(text.partition("=")[::2] for text in space.fixed)
    known = {setting.key: setting for setting in space.settings}
    kept = []
    for setting in space.settings:
        for key, value in setting.condition:
            if key not in known and key not in fixed:
                raise ConfigError(f"hydra.sweeper.params: `when {key}={value}`: {key} is not searched")
            if key in known and known[key].kind == "choice" and value not in known[key].choices:
                raise ConfigError(
                    f"hydra.sweeper.params: `when {key}={value}`: {key} has the choices {', '.join(known[key].choices)}"
                )
        if all(fixed.get(key, value) == value for key, value in setting.condition):
            open_conditions = tuple((key, value) for key, value in setting.condition if key not in fixed)
            kept.append(replace(setting, condition=open_conditions))
    space.settings = sorted(kept, key=lambda setting: len(setting.condition))
    return space


def _read(space: Space, params: Mapping[str, Any], condition: Condition, overridden: set[str]) -> None:
    for key, value in params.items():
        if str(key).startswith(WHEN):
            other, _, choice = str(key)[len(WHEN) :].partition("=")
            if not choice or not isinstance(value, dict):
                raise ConfigError(f"hydra.sweeper.params: '{key}' must be `when KEY=VALUE:` with a mapping below it")
            _read(space, value, (*condition, (other.strip(), choice.strip())), overridden)
        elif key not in overridden:
            text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
            _add(space, parse_override(f"{key}={text}"), condition)


def _add(space: Space, override: Override, condition: Condition) -> None:
    key = override.get_key_element()
    if not override.is_sweep_override():
        if condition:
            space.settings.append(Setting(key, "choice", (override.get_value_element_as_str(),), condition=condition))
        else:
            given = override.input_line if override.is_delete() else f"{key}={override.get_value_element_as_str()}"
            space.fixed.append(given or "")
        return
    sweep: Any = override.value()
    unknown = set(sweep.tags) - TAGS
    if unknown:
        raise ConfigError(f"{key}: there is no tag '{', '.join(sorted(unknown))}' (tags are {', '.join(sorted(TAGS))})")
    if override.is_interval_sweep():
        kind = "int" if isinstance(sweep.start, int) and isinstance(sweep.end, int) else "float"
        log, one_minus = "log" in sweep.tags, "one_minus_log" in sweep.tags
        if not (math.isfinite(sweep.start) and math.isfinite(sweep.end)):
            raise ConfigError(f"{key}: interval({sweep.start}, {sweep.end}) must have finite ends")
        if not sweep.start < sweep.end:
            raise ConfigError(f"{key}: interval({sweep.start}, {sweep.end}) is empty")
        if log and sweep.start <= 0:
            raise ConfigError(f"{key}: a logarithmic interval must begin above 0")
        if one_minus and sweep.end >= 1:
            raise ConfigError(f"{key}: an interval with one_minus_log must end below 1")
        setting = Setting(key, kind, low=sweep.start, high=sweep.end, log=log, one_minus=one_minus, condition=condition)
    elif override.is_range_sweep() and len(values := list(sweep.range())) > 1:
        kind = "int" if all(isinstance(value, int) for value in values) else "float"
        setting = Setting(key, kind, low=min(values), high=max(values), step=abs(sweep.step), condition=condition)
    else:
        setting = Setting(key, "choice", tuple(override.sweep_string_iterator()), condition=condition)
    space.settings.append(setting)
