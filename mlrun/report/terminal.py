"""What a run says: its configuration, its progress, its result. Panels on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from mlrun.report.console import new_console
from mlrun.report.numbers import duration, number
from mlrun.report.progress import Progress

__all__ = ["Progress", "config_rows", "config_summary", "result_table", "short_path"]


def config_summary(cfg, overrides=(), problem=None, sizes=None, directory=None, run_id=None, stream=None) -> None:
    """Say in a few lines what is about to run.

    cfg: the composed configuration; overrides: those of the command line, for the model's settings;
    problem, sizes ({"train": rows, ...}): as the data module found them.
    """
    _block("mlrun", config_rows(cfg, overrides, problem, sizes, directory, run_id), stream)


def config_rows(cfg, overrides=(), problem=None, sizes=None, directory=None, run_id=None) -> list[tuple[str, str]]:
    model, dataset = cfg.get("model") or {}, cfg.get("dataset") or {}
    network = bool(model.get("_target_"))
    problem = problem or dataset.get("problem")
    rows = [("model", _model_line(model, overrides, problem, network))]
    parts = [str(dataset.get("name") or _class_name(dataset)), str(problem or "")]
    if sizes:
        parts.append(" / ".join(f"{rows_of:,} {split}" for split, rows_of in sizes.items()))
    rows.append(("dataset", ", ".join(part for part in parts if part)))
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


def _model_line(model, overrides, problem, network) -> str:
    line = str(model.get("name") or _class_name(model))
    if not network:
        roles = ("classifier", "regressor") if problem == "classification" else ("regressor", "classifier")
        estimator = next(
            (model.get(role) for role in (*roles, "clusterer", "decomposer", "controller") if model.get(role)), None
        )
        line = f"{line}: {_call(estimator)}" if estimator else line
    changed = [text.lstrip("+").removeprefix("model.") for text in overrides if text.lstrip("+").startswith("model.")]
    return f"{line}  with {', '.join(changed)}" if changed else line


def _trainer_line(trainer) -> str:
    parts = []
    if trainer.get("max_epochs"):
        parts.append(f"{trainer.get('max_epochs')} epochs")
    if trainer.get("early_stopping_patience"):
        parts.append(f"patience {trainer.get('early_stopping_patience')}")
    silent = {"max_epochs", "early_stopping_patience", "name", "_target_", "folds", "repeats", "group"}
    # how, not what: of no interest by themselves
    silent |= {"penalize_bias_and_norm", "gradient_clip_algorithm", "matmul_precision"}
    usual = (None, False, 0, 1, "auto", "32-true", "32", 32)
    parts += [f"{key} {_value(value)}" for key, value in trainer.items() if key not in silent and value not in usual]
    return ", ".join(parts)


def _class_name(node) -> str:
    return str(node.get("_target_") or "").rpartition(".")[2]


def _call(node) -> str:
    """{_target_: torch.optim.Adam, lr: 0.001} -> Adam(lr=0.001)"""
    if not node or not node.get("_target_"):
        return ""
    given = {key: value for key, value in node.items() if key != "name" and key[0] != "_" and value is not None}
    return f"{_class_name(node)}({', '.join(f'{key}={_value(value)}' for key, value in given.items())})"


def _value(value) -> str:
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return _call(value) or "{...}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_path(path) -> str:
    """Relative to the working directory where that is shorter."""
    path = str(path)
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return path
    return relative if len(relative) < len(path) and not relative.startswith("..") else path


def _block(title, rows, stream=None) -> None:
    """Rows of name and text: a panel on a terminal, aligned lines elsewhere."""
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


def fold(index: int, total: int, metric: str = "", value=None, stream=None) -> None:
    """One line for a fold that is done."""
    print(
        f"fold {index}/{total}" + (f"  {metric} {number(value)}" if value is not None else ""), file=stream, flush=True
    )


def result_table(result, stream=None) -> None:
    """The end of a run: metrics (test first, then validation of the best epoch), times, run, where to look next.

    result: metrics, status, run_id, directory, seconds (by phase), parameters, best_epoch, model, dataset, monitor.
    """
    console = new_console(stream)
    splits, names = _by_split(result.metrics)
    facts = _facts(result)
    if console is None:
        lines = [(f"{split}/{name}" if split else name, number(splits[split][name]))
                 for split in splits for name in names if name in splits[split]]  # fmt: skip
        lines += facts
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

    good = result.status == "FINISHED"
    parts = []
    if names:
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
        table.add_column("metric", style="bold cyan", no_wrap=True)
        for split in splits:
            heading = f"val, epoch {result.best_epoch}" if split == "val" and result.best_epoch is not None else split
            table.add_column(heading, justify="right", no_wrap=True)
        watched = (result.monitor or "").rpartition("/")[2]
        for name in names:
            cells = [number(splits[split][name]) if name in splits[split] else "" for split in splits]
            mark, style = (" *", "bold") if name == watched else ("", None)
            table.add_row(Text(name + mark), *cells, style=style)
        parts += [table, Text()]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts:
        grid.add_row(name, Text(text))
    parts.append(grid)
    title = Text.assemble(f"{result.model} on {result.dataset}: ", (result.status, "green" if good else "bold red"))
    border = "green" if good else "red"
    console.print(Panel(Group(*parts), title=title, title_align="left", border_style=border, expand=False))


def _by_split(metrics) -> tuple[dict, list]:
    """{"test/accuracy": 0.9} -> {"test": {"accuracy": 0.9}}, test first; and the metrics' names in order."""
    splits = {}
    for key, value in metrics.items():
        split, _, name = key.rpartition("/")
        splits.setdefault(split, {})[name] = value
    order = ("test", "val", "train")
    splits = dict(sorted(splits.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))
    return splits, list(dict.fromkeys(name for values in splits.values() for name in values))


def _facts(result) -> list[tuple[str, str]]:
    facts = []
    seconds = dict(result.seconds or {})
    if seconds:
        total = seconds.pop("total", None)
        phases = ", ".join(f"{phase} {duration(value)}" for phase, value in seconds.items())
        total = sum(seconds.values()) if total is None else total
        facts.append(("time", duration(total) + (f"  ({phases})" if phases else "")))
    if result.parameters is not None:
        facts.append(("parameters", number(int(result.parameters))))
    if result.best_epoch is not None:
        facts.append(("best epoch", f"{result.best_epoch}" + (f" by {result.monitor}" if result.monitor else "")))
    facts += [
        ("run", str(result.run_id or "not at MLflow yet: mlrun sync")),
        ("directory", short_path(result.directory)),
    ]
    if result.run_id:
        facts.append(("next", "mlrun ui  shows metrics, figures and the model of this run"))
    return facts
