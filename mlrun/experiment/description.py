"""The description of a run on its MLflow page: the command, the result, and where the figures are. Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mlrun.config.overrides import as_command
from mlrun.experiment.result import Result
from mlrun.report.numbers import duration, number
from mlrun.report.terminal import by_split, short_path, with_one_loss

LISTED = 24  # metrics of the table at most: digits have a recall for every class


def describe(result: Result, overrides: Sequence[str], model: str = "") -> str:
    """The description of a finished run.

    Args:
        result: of the run.
        overrides: of the command line.
        model: what the model is, in a line.
    """
    lines = [_code(as_command(overrides)), ""]
    if model:
        lines += [model, ""]
    splits, names = by_split(with_one_loss(result.metrics, result.loss_name))
    if names:
        lines += ["| metric | " + " | ".join(splits) + " |", "|" + " --- |" + " ---: |" * len(splits)]
        for name in names[:LISTED]:
            cells = [number(splits[split][name]) if name in splits[split] else "" for split in splits]
            lines.append(f"| {_code(name)} | " + " | ".join(cells) + " |")
        lines.append("")
    facts = []
    if result.best_epoch is not None:
        facts.append(f"best epoch {result.best_epoch} by {result.monitor}")
    elif result.monitor:
        facts.append(f"monitored metric {result.monitor}")
    if result.parameters is not None:
        facts.append(f"{result.parameters:,} parameters")
    if result.seconds:
        facts.append(f"{duration(sum(result.seconds.values()))} in total")
    lines += [f"- {fact}" for fact in facts]
    lines += [f"- {name}: {text}" for name, text in result.about]
    figures = sorted(path.stem for path in (result.directory / "figures").glob("*.png"))
    if figures:
        lines.append(f"- figures (Artifacts → figures): {', '.join(figures)}")
    lines.append(f"- directory: `{short_path(result.directory)}`")
    return "\n".join(lines)


def _code(name: str) -> str:
    return f"`{name}`"
