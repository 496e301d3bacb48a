"""The rich console if the output is a terminal; rich is imported only then.

Elsewhere, and if TERM is dumb, output is plain lines without control codes. NO_COLOR removes colours and keeps the layout, as in rich.
"""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether `stream`, by default stdout, is a terminal that supports control codes."""
    stream = sys.stdout if stream is None else stream
    return bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") not in ("dumb", "unknown")


def new_console(stream: IO[str] | None = None) -> Console | None:
    """A rich console on `stream` if that is a terminal, else None."""
    if not is_terminal(stream):
        return None
    from rich.console import Console

    return Console(file=stream, highlight=False)
