"""Offers the warm server in one line, to those who would gain from it."""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from pathlib import Path

from mlrun.warm import client

RUNS = 3  # runs in a day after which the server is offered


def offer() -> None:
    """Call after a run that a person waited for: at the terminal, and without a server. The third run of a day prints the line."""
    if (
        client.in_server
        or sys.platform != "linux"
        or client.OFF in os.environ
        or not (sys.stdout.isatty() and sys.stderr.isatty())
    ):
        return
    from pooch import os_cache

    path = Path(os_cache("mlrun")) / "runs_today.json"
    today = date.today().isoformat()
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        count = int(known["runs"]) + 1 if known["day"] == today else 1
    except (OSError, ValueError, KeyError, TypeError):
        count = 1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"day": today, "runs": count}), encoding="utf-8")
    except OSError:
        return
    if count == RUNS:
        print(
            f"mlrun: a short run spends most of its time on imports; `mlrun warm` does them once for all later commands ({client.OFF}=0 hides this line)",
            file=sys.stderr,
        )
