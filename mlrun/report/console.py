"""The streams that a person reads: control characters in labels, file names and messages appear as text, not as commands to the terminal.

rich is used only if the output is a terminal. Elsewhere, and if TERM is dumb, output is plain lines without control codes. NO_COLOR removes
colours and keeps the layout, as in rich.
"""

from __future__ import annotations

import os
import re
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text with control characters written as `\\x1b`; tabs and ends of lines stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Printable:
    """A text stream that shows control characters as text. `stream` is the one behind it, for programs that control the terminal."""

    def __init__(self, stream: IO[str]):
        self.stream = stream

    def write(self, text: str) -> int:
        clear_status()
        self.stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard_streams() -> None:
    """From now on, stdout and stderr show control characters as text."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Printable):
            setattr(sys, name, Printable(stream))


def drop_output() -> None:
    """Discards what stdout still holds after a closed pipe or a full disk: the interpreter would try to write it at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether `stream`, by default stdout, is a terminal that supports control codes."""
    stream = sys.stdout if stream is None else stream
    return bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") not in ("dumb", "unknown")


_status = False  # whether a status line is on the screen


def show_status(text: str) -> None:
    """Shows what a command is doing before it has anything to show: a line on a terminal that the next output removes."""
    global _status
    if is_terminal() and is_terminal(sys.stderr):
        _to_terminal(f"\r\x1b[2K{text}")
        _status = True


def clear_status() -> None:
    """Removes the status line."""
    global _status
    if _status:
        _status = False
        if is_terminal(sys.stderr):
            _to_terminal("\r\x1b[2K")


def _to_terminal(text: str) -> None:
    stream = sys.stderr.stream if isinstance(sys.stderr, Printable) else sys.stderr
    stream.write(text)
    stream.flush()


def new_console(stream: IO[str] | None = None, width: int | None = None) -> Console | None:
    """A rich console on `stream` if that is a terminal, else None. Only rich itself controls the terminal, not the texts that it shows."""
    if not is_terminal(stream):
        return None
    clear_status()
    from rich.console import Console
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(self, *arguments: Any, **options: Any) -> Any:
            for part in super().render(*arguments, **options):
                yield part if part.control else Segment(printable(part.text), part.style)

    stream = sys.stdout if stream is None else stream
    return SafeConsole(file=stream.stream if isinstance(stream, Printable) else stream, highlight=False, width=width)
