"""One line about an exception that a constructor raised: which arguments of the configuration caused it."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from mlrun.config.schema import METADATA
from mlrun.config.signatures import signature
from mlrun.config.sources import NoSuchTarget
from mlrun.config.values import shown

_PACKAGE = Path(__file__).resolve().parent.parent
_SELF_EXPLANATORY = (ValueError, TypeError, ArithmeticError, RuntimeError, OSError, ImportError)
_LONGEST = 400  # characters of an exception's text
_MOST = 5  # arguments listed where the exception points at none
_ABSENT = object()


def describe_failure(target: str, given: Mapping[str, Any], error: BaseException, begin: TracebackType | None) -> str:
    """`torch.optim.SGD cannot be built with momentum=-1: Invalid momentum value: -1`.

    Args:
        target: dotted name of the class or function.
        given: its keyword arguments.
        error: what it raised.
        begin: the part of the error's traceback that lies in the constructor and in what it called.
    """
    reason = reason_of(error)
    if not str(error).strip() and (line := _source_of(begin)):
        reason = f"{reason}: {line}"
    names = [name for name in _culprits(target, given, error, begin) if f"{name}={shown(given[name])}" not in reason]
    settings = ", ".join(f"{name}={shown(given[name])}" for name in names)
    return f"{target} cannot be built{f' with {settings}' if settings else ''}: {reason}{place_of(begin)}"


def reason_of(error: BaseException) -> str:
    """The text of an exception on one line, with its type where the text alone says too little."""
    text = " ".join(str(error).split())
    if not text:
        return type(error).__name__
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return text if isinstance(error, _SELF_EXPLANATORY) else f"{type(error).__name__}: {text}"


def _culprits(target: str, given: Mapping[str, Any], error: BaseException, begin: TracebackType | None) -> list[str]:
    """Names of the arguments that caused the error: those that its text names, else those on the line that failed,
    else those that differ from their defaults."""
    plain = {name: value for name, value in given.items() if name not in METADATA and _is_plain(value)}
    text = str(error)
    named = [name for name in plain if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    if named:
        return named
    if isinstance(error, ZeroDivisionError):  # on the line of a division only a zero is to blame
        plain = {name: value for name, value in plain.items() if value == 0 and not isinstance(value, bool)} or plain
    for frame, line in reversed(list(_frames(begin))):
        used = _names_on_line(frame, line)
        if found := [name for name, value in plain.items() if name in used and _same(used[name], value)]:
            return _repeated(found, plain, text) or found
    differing = _not_default(target, plain)
    differing = _repeated(differing, plain, text) or differing
    return differing if len(differing) <= _MOST else []


def _repeated(names: list[str], given: Mapping[str, Any], text: str) -> list[str]:
    """Those whose value the text of the error repeats."""
    return [name for name in names if _repeats(text, given[name])]


def _repeats(text: str, value: Any) -> bool:
    if value is None or value == "" or isinstance(value, bool):
        return False
    return re.search(rf"(?<![\w.]){re.escape(str(value))}(?!\w|\.\d)", text) is not None


def _not_default(target: str, given: Mapping[str, Any]) -> list[str]:
    try:
        takes = signature(target)
    except NoSuchTarget:
        takes = None
    known = takes.by_name if takes else {}
    return [name for name, value in given.items() if name not in known or not _same(known[name].default, value)]


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, (bool, int, float, str))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and _is_plain(one) and one == other


# --- the line that failed ------------------------------------------------------------------------------------------


def _frames(begin: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """Frames of a traceback with the line that each was at, without Hydra's own."""
    while begin is not None:
        if not begin.tb_frame.f_globals.get("__name__", "").startswith("hydra."):
            yield begin.tb_frame, begin.tb_lineno
        begin = begin.tb_next


def _names_on_line(frame: FrameType, line: int) -> dict[str, Any]:
    """Local variables, and attributes of `self`, on a line of source with their values."""
    own = frame.f_locals.get("self")
    found = {}
    for expression in _expressions(frame.f_code.co_filename, line):
        for node in ast.walk(expression):
            if isinstance(node, ast.Name):
                found[node.id] = frame.f_locals.get(node.id, _ABSENT)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                found.setdefault(node.attr, getattr(own, "__dict__", {}).get(node.attr, _ABSENT))
    return found


def _expressions(filename: str, line: int) -> list[ast.AST]:
    """What the innermost statement around a line evaluates; for a `raise`, also the conditions that lead to it."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return []
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]  # `ast.walk` goes from the outside to the inside
    if not around:
        return []
    chosen = [around[-1]]
    if isinstance(around[-1], ast.Raise):
        chosen += [node for node in around[:-1] if isinstance(node, ast.If)][-1:]
    return [part for node in chosen for part in ast.iter_child_nodes(node) if not isinstance(part, ast.stmt)]


def _source_of(begin: TracebackType | None) -> str:
    """The line of source on which the error was raised."""
    frames = list(_frames(begin))
    return linecache.getline(frames[-1][0].f_code.co_filename, frames[-1][1]).strip() if frames else ""


def place_of(begin: TracebackType | None) -> str:
    """` (net.py, line 5)`: where the error was raised, if in a file of the user's below the working directory."""
    here = Path.cwd()
    for frame, line in reversed(list(_frames(begin))):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(here) and not path.is_relative_to(_PACKAGE) and "site-packages" not in path.parts:
            return f" ({path.relative_to(here)}, line {line})"
    return ""
