"""The description of a logged model on its MLflow page. Markdown."""

from __future__ import annotations

from collections.abc import Sequence

MOST_COLUMNS = 100  # that are listed


def describe_model(columns: Sequence[tuple[str, str]]) -> str:
    """The description of a logged model of tables. columns: (name, kind) of what it takes."""
    lines = ["Takes tables with these columns:", "", "| column | kind |", "| --- | --- |"]
    lines += [f"| `{name}` | {kind} |" for name, kind in columns[:MOST_COLUMNS]]
    if len(columns) > MOST_COLUMNS:
        lines += ["", f"and {len(columns) - MOST_COLUMNS} more"]
    return "\n".join(lines)
