"""Output of a run: its configuration, progress and result. Panels on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlrun.report.console import new_console, show_status
from mlrun.report.numbers import duration, number
from mlrun.report.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

LISTED_RECALLS = 6  # most classes whose recall the result lists; of more it names the lowest

__all__ = ["Progress", "config_rows", "config_summary", "result_table", "short_path"]


def config_summary(
    cfg: Mapping[str, Any],
    overrides: Sequence[str] = (),
    problem: str | None = None,
    sizes: Mapping[str, int] | None = None,
    directory: str | Path | None = None,
    run_id: str | None = None,
    stream: IO[str] | None = None,
    dataset: str | None = None,
    about: Sequence[tuple[str, str]] = (),
) -> None:
    """Prints a summary of the run that is about to start.

    Args:
        cfg: the composed configuration.
        overrides: of the command line; those of the model are shown.
        problem, sizes: of the data module; sizes: part -> rows.
        directory, run_id: of the run.
        stream: None: stdout.
        dataset: display name of the data; None: that of the configuration.
        about: (name, text) of further lines about the data.
    """
    _block("mlrun", config_rows(cfg, overrides, problem, sizes, directory, run_id, dataset, about), stream)


def config_rows(
    cfg: Mapping[str, Any],
    overrides: Sequence[str] = (),
    problem: str | None = None,
    sizes: Mapping[str, int] | None = None,
    directory: str | Path | None = None,
    run_id: str | None = None,
    dataset: str | None = None,
    about: Sequence[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """(name, text) of each line of `config_summary`."""
    model, settings = cfg.get("model") or {}, cfg.get("dataset") or {}
    network = bool(model.get("_target_"))
    problem = problem or settings.get("problem")
    rows = [("model", _model_line(model, overrides, problem, network))]
    parts = [dataset or str(settings.get("name") or _class_name(settings)), str(problem or "")]
    if sizes:
        parts.append(" / ".join(f"{rows_of:,} {split}" for split, rows_of in sizes.items()))
    rows.append(("dataset", ", ".join(part for part in parts if part)))
    rows += about
    if network:
        rows.append(("optim", _call(cfg.get("optim"))))
        rows.append(("scheduler", _call(cfg.get("scheduler"))))
        rows.append(("trainer", _trainer_line(cfg.get("trainer") or {})))
    rows.append(("seed", str(cfg.get("seed"))))
    if directory is not None:
        rows.append(("directory", short_path(directory)))
    if run_id is not None:
        rows.append(("run", str(run_id)))
    return [(name, text) for name, text in rows if text]


def _model_line(model: Mapping[str, Any], overrides: Sequence[str], problem: str | None, network: bool) -> str:
    line = str(model.get("name") or _class_name(model))
    if not network:
        roles = ("classifier", "regressor") if problem == "classification" else ("regressor", "classifier")
        estimator = next(
            (
                model.get(role)
                for role in (*roles, "clusterer", "decomposer", "detector", "controller")
                if model.get(role)
            ),
            None,
        )
        line = f"{line}: {_call(estimator)}" if estimator else line
    changed = [text.lstrip("+").removeprefix("model.") for text in overrides if text.lstrip("+").startswith("model.")]
    return f"{line}  with {', '.join(changed)}" if changed else line


def _trainer_line(trainer: Mapping[str, Any]) -> str:
    parts = []
    if trainer.get("max_epochs"):
        parts.append(f"{trainer.get('max_epochs')} epochs")
    if trainer.get("early_stopping_patience"):
        parts.append(f"patience {trainer.get('early_stopping_patience')}")
    silent = {"max_epochs", "early_stopping_patience", "name", "_target_", "folds", "repeats", "group"}
    # implementation details
    silent |= {"penalize_bias_and_norm", "gradient_clip_algorithm", "matmul_precision"}
    usual: tuple[Any, ...] = (None, False, 0, 1, "auto", "32-true", "32", 32, {})
    parts += [f"{key} {_value(value)}" for key, value in trainer.items() if key not in silent and value not in usual]
    return ", ".join(parts)


def _class_name(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_") or "").rpartition(".")[2]


def _call(node: Mapping[str, Any] | None) -> str:
    """{_target_: torch.optim.Adam, lr: 0.001} -> Adam(lr=0.001)"""
    if not node or not node.get("_target_"):
        return ""
    given = {key: value for key, value in node.items() if key != "name" and key[0] != "_" and value is not None}
    return f"{_class_name(node)}({', '.join(f'{key}={_value(value)}' for key, value in given.items())})"


def _value(value: Any) -> str:
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return _call(value) or f"{{{', '.join(map(str, value))}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_path(path: str | Path) -> str:
    """The path relative to the working directory if that is shorter."""
    path = str(path)
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    return relative if len(relative) < len(path) and not relative.startswith("..") else path


def _block(title: str, rows: Sequence[tuple[str, str]], stream: IO[str] | None = None) -> None:
    """Prints rows of name and text: a panel on a terminal, aligned lines elsewhere."""
    console = new_console(stream)
    if console is None:
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            print(f"{name:<{width}}  {text}", file=stream)
        (stream or sys.stdout).flush()
        return
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(name, Text(text))
    console.print(Panel(grid, title=title, title_align="left", border_style="dim", expand=False))


def doing(text: str) -> None:
    """Shows what the run is doing before its summary, on a terminal."""
    show_status(text)


def fold(index: int, total: int, metric: str = "", value: float | None = None, stream: IO[str] | None = None) -> None:
    """Prints a line for a finished fold."""
    print(
        f"fold {index}/{total}" + (f"  {metric} {number(value)}" if value is not None else ""), file=stream, flush=True
    )


def result_table(result: Any, stream: IO[str] | None = None) -> None:
    """Prints the result of a run: metrics (test first, then validation of the best epoch), times, run, next steps.

    result: has metrics, status, run_id, directory, seconds (by phase), parameters, best_epoch, model, dataset, monitor, and may have
        loss_name and classes.
    """
    console = new_console(stream)
    metrics = with_one_loss(result.metrics, getattr(result, "loss_name", None))
    recalled = getattr(result, "classes", {})
    splits, names = by_split(
        {name: value for name, value in metrics.items() if name.rpartition("/")[2] not in recalled}
    )
    details = _details(result)
    if console is None:
        lines = [(f"{split}/{name}" if split else name, number(splits[split][name]))
                 for split in splits for name in names if name in splits[split]]  # fmt: skip
        lines += details
        width = max(len(name) for name, _ in lines)
        print(f"{result.model} on {result.dataset}: {result.status}", file=stream)
        for name, text in lines:
            print(f"{name:<{width}}  {text}", file=stream)
        (stream or sys.stdout).flush()
        return

    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    finished = result.status == "FINISHED"
    parts: list[RenderableType] = []
    if names:
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
        table.add_column("metric", style="bold cyan", no_wrap=True)
        for split in splits:
            heading = f"val, epoch {result.best_epoch}" if split == "val" and result.best_epoch is not None else split
            table.add_column(heading, justify="right", no_wrap=True)
        monitored = (result.monitor or "").rpartition("/")[2]
        for name in names:
            cells = [number(splits[split][name]) if name in splits[split] else "" for split in splits]
            mark, style = (" *", "bold") if name == monitored else ("", None)
            table.add_row(Text(name + mark), *cells, style=style)
        parts.append(table)
        if monitored in names:
            parts.append(Text(" * monitored: selects the best epoch and ranks runs", style="dim"))
        parts.append(Text())
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in details:
        grid.add_row(name, Text(text))
    parts.append(grid)
    title = Text.assemble(f"{result.model} on {result.dataset}: ", (result.status, "green" if finished else "bold red"))
    border = "green" if finished else "red"
    console.print(Panel(Group(*parts), title=title, title_align="left", border_style=border, expand=False))


def with_one_loss(metrics: Mapping[str, float], name: str | None) -> dict[str, float]:
    """The metrics with the loss under the name of the metric that is the same number, so that all splits have the same rows.

    Args:
        metrics: by split and name.
        name: such as "log_loss"; None: the loss is not a metric.
    """
    if name is None:
        return dict(metrics)
    renamed: dict[str, float] = {}
    for key, value in metrics.items():
        split, _, metric = key.rpartition("/")
        renamed.setdefault(f"{split}/{name}" if metric == "loss" else key, value)
    return renamed


def by_split(metrics: Mapping[str, float]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """{"test/accuracy": 0.9} -> {"test": {"accuracy": 0.9}}, test first; and the metrics' names in order."""
    splits: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        split, _, name = key.rpartition("/")
        splits.setdefault(split, {})[name] = value
    order = ("test", "val", "train")
    splits = dict(sorted(splits.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))
    return splits, list(dict.fromkeys(name for values in splits.values() for name in values))


def _recall_line(metrics: Mapping[str, float], classes: Mapping[str, str]) -> str:
    """The recall of each class in the split that is shown first, or the lowest ones.

    classes: name of the metric with a class's recall -> the class.
    """
    from mlrun.data.row_data import in_list

    splits, _ = by_split({name: value for name, value in metrics.items() if name.rpartition("/")[2] in classes})
    of_split = next(iter(splits.values()), {})
    recalls = [(in_list(classes[name]), value) for name, value in of_split.items() if value == value]
    if len(recalls) <= LISTED_RECALLS:
        return ", ".join(f"{name} {number(value, 3)}" for name, value in recalls)
    lowest = sorted(recalls, key=lambda one: one[1])[:3]
    return "lowest: " + ", ".join(f"{name} {number(value, 3)}" for name, value in lowest)


def _details(result: Any) -> list[tuple[str, str]]:
    details: list[tuple[str, str]] = []
    if recalls := _recall_line(result.metrics, getattr(result, "classes", {})):
        details.append(("recall", recalls))
    seconds = dict(result.seconds or {})
    if seconds:
        total = seconds.pop("total", None)
        phases = ", ".join(f"{phase} {duration(value)}" for phase, value in seconds.items())
        total = sum(seconds.values()) if total is None else total
        details.append(("time", duration(total) + (f"  ({phases})" if phases else "")))
    if result.parameters is not None:
        details.append(("parameters", number(int(result.parameters))))
    if result.best_epoch is not None:
        details.append(("best epoch", f"{result.best_epoch}" + (f" by {result.monitor}" if result.monitor else "")))
    details += [
        ("run", str(result.run_id or "not at MLflow yet: mlrun sync")),
        ("directory", short_path(result.directory)),
    ]
    if result.run_id:
        details.append(("next", "mlrun ui  shows metrics, figures and the model of this run"))
    return details
