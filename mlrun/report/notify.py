"""What a run has to say beside its table: on the terminal, and in its log."""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("mlrun")


def notify(message, level: int = logging.INFO) -> None:
    log.log(level, "%s", message)
    print(f"mlrun: {message}", file=sys.stderr)
