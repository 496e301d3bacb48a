"""Overrides and commands as text: they mean what is intended when they are pasted into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_WORD = re.compile(r"[A-Za-z_%][A-Za-z0-9_%./-]*")
_NOT_TEXT = {"null", "true", "false", "nan", "inf", "yes", "no", "on", "off"}


def as_override(key: str, value: str | Sequence[str]) -> str:
    """`KEY=VALUE` or `KEY=[VALUE,...]`, quoted for Hydra's grammar and for the shell where a value needs it."""
    return shlex.quote(for_hydra(key, value))


def for_hydra(key: str, value: str | Sequence[str]) -> str:
    """As `as_override`, for a program that reads it without a shell."""
    text = _value(value) if isinstance(value, str) else f"[{','.join(map(_value, value))}]"
    return f"{key}={text}"


def as_command(words: Sequence[str]) -> str:
    """`mlrun` with these arguments, as a person would write it: words with single quotes in double quotes."""
    return " ".join(["mlrun", *map(_word, words)])


def _word(text: str) -> str:
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)


def _value(text: str) -> str:
    if _WORD.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    # of a backslash only those before a quotation mark are special to Hydra
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
