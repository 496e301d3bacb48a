"""Rows of results: printed, and appended to a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def report(row: Mapping[str, Any], output: Path | None) -> None:
    """Prints a row; appends it to `output`, which gets a header if it is new."""
    print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if output is None:
        return
    is_new = not output.exists()
    with open(output, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
