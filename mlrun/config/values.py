"""Kinds of values that a setting can have. Each kind accepts or rejects a plain YAML value, and `str(kind)` names it in messages."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Kind(Protocol):
    """A kind of value."""

    def accepts(self, value: Any) -> bool:
        """Whether a plain YAML value is of this kind."""
        ...


@dataclass(frozen=True)
class Number:
    """A number in an interval.

    Args:
        integral: integers only.
        low: lower end; None for no limit.
        high: upper end; None for no limit.
        closed: which ends belong to the interval: "both", "left", "right" or "neither".
        fractional: reals only: 1.0, but not 1.
    """

    integral: bool = False
    low: float | None = None
    high: float | None = None
    closed: str = "both"
    fractional: bool = False

    def accepts(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if (self.integral and not isinstance(value, int)) or (self.fractional and isinstance(value, int)):
            return False
        above = self.low is None or value > self.low or (value == self.low and self.closed in ("left", "both"))
        below = self.high is None or value < self.high or (value == self.high and self.closed in ("right", "both"))
        return above and below and not math.isnan(value)

    def __str__(self) -> str:
        noun = "an integer" if self.integral else "a fraction" if self.fractional else "a number"
        low = None if self.low in (None, -math.inf) else self.low
        high = None if self.high in (None, math.inf) else self.high
        left, right = self.closed in ("left", "both"), self.closed in ("right", "both")
        if low is not None and high is not None:
            return f"{noun} in {'[' if left else '('}{_short(low)}, {_short(high)}{']' if right else ')'}"
        if low is not None:
            return f"{noun} {'>=' if left else '>'} {_short(low)}"
        if high is not None:
            return f"{noun} {'<=' if right else '<'} {_short(high)}"
        return noun


def _short(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    options: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        return any(value == option and isinstance(value, bool) == isinstance(option, bool) for option in self.options)

    def __str__(self) -> str:
        texts = list(dict.fromkeys(map(str, self.options)))  # torch's 16 and "16" are one for a reader
        return ("one of " if len(texts) > 1 else "") + ", ".join(texts)


@dataclass(frozen=True)
class Flag:
    """A boolean."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Text:
    """A string.

    Args:
        longest: number of characters; a string with such a limit is not blank. None: any string.
    """

    longest: int | None = None

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        return self.longest is None or 0 < len(value.strip()) and len(value) <= self.longest

    def __str__(self) -> str:
        return "text" if self.longest is None else f"text of 1 to {self.longest} characters"


@dataclass(frozen=True)
class Duration:
    """Days, hours, minutes and seconds, as Lightning reads them."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value) is not None

    def __str__(self) -> str:
        return 'a time such as "00:01:30:00" (days:hours:minutes:seconds)'


@dataclass(frozen=True)
class NotText:
    """Anything except a string: for arguments whose default is a number and whose type is unknown."""

    def accepts(self, value: Any) -> bool:
        return not isinstance(value, str)

    def __str__(self) -> str:
        return "a number"


@dataclass(frozen=True)
class Null:
    """Nothing: `null`."""

    def accepts(self, value: Any) -> bool:
        return value is None

    def __str__(self) -> str:
        return "null"


@dataclass(frozen=True)
class Items:
    """A list.

    Args:
        of: kinds of each item; an empty tuple for any.
        length: number of items; None for any.
    """

    of: tuple[Kind, ...] = ()
    length: int | None = None

    def accepts(self, value: Any) -> bool:
        return (
            isinstance(value, list)
            and (self.length is None or len(value) == self.length)
            and all(fits(self.of, item) for item in value)
        )

    def __str__(self) -> str:
        count = "a list" if self.length is None else f"a list of length {self.length}"
        return f"{count} (each {describe(self.of)})" if self.of else count


@dataclass(frozen=True)
class Mapping:
    """A mapping with any keys."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict)

    def __str__(self) -> str:
        return "a mapping"


INTEGER, REAL = Number(integral=True), Number()


def shown(value: Any) -> str:
    """A value as YAML writes it, on at most 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def fits(kinds: Sequence[Kind], value: Any) -> bool:
    """Whether the value is of one of these kinds.

    Also true where nothing is known: no kinds, or a node with a `_target_`, which becomes an object.
    """
    if not kinds or (isinstance(value, dict) and "_target_" in value):
        return True
    return any(kind.accepts(value) for kind in kinds)


def describe(kinds: Sequence[Kind]) -> str:
    """`one of gini, entropy`, `a number > 0 or null` ..."""
    words = list(dict.fromkeys(str(kind) for kind in kinds))
    return " or ".join(words)


def options(kinds: Sequence[Kind]) -> list[str]:
    """The strings among the choices, for "did you mean"."""
    return [o for kind in kinds if isinstance(kind, Choice) for o in kind.options if isinstance(o, str)]
