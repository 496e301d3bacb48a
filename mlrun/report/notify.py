"""Messages of a run beside its table: on the terminal and in its log."""

from __future__ import annotations

import logging
import sys

from mlrun.config.passwords import masked

log = logging.getLogger("mlrun")


def notify(message: str, level: int = logging.INFO) -> None:
    """Writes a message to the log and to stderr."""
    message = masked(message)
    log.log(level, "%s", message)
    print(f"mlrun: {message}", file=sys.stderr)
