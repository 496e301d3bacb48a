"""Whether the reader sits at a terminal, and the rich console if so; rich is imported only then.

Elsewhere, and where TERM is dumb, everything is said in plain lines without control codes.
NO_COLOR keeps the layout and takes the colour, as rich does.
"""

from __future__ import annotations

import os
import sys


def is_terminal(stream=None) -> bool:
    stream = sys.stdout if stream is None else stream
    return bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") not in ("dumb", "unknown")


def new_console(stream=None):
    """A rich console on `stream` if that is a terminal, else None."""
    if not is_terminal(stream):
        return None
    from rich.console import Console

    return Console(file=stream, highlight=False)
