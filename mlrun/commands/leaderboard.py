"""`mlrun leaderboard [EXPERIMENT | SWEEP_DIR]`: mean and standard deviation over seeds, best first."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlrun.sweep.leaderboard import Board, Row
    from mlrun.tracking.stored_run import StoredRun

SUMMARY = "runs that differ only in their seed as one row: mean, std, n, best, time"
FORMATS = ("table", "csv", "md")


def run(argv: list[str]) -> int:
    """Runs the command. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun leaderboard", description=f"Shows {SUMMARY}. std is numpy's, divided by n."
    )
    parser.add_argument(
        "source", nargs="?", default="mlrun", help="an MLflow experiment or the directory of a sweep (default: mlrun)"
    )
    parser.add_argument(
        "select",
        nargs="*",
        help="select.maximize=METRIC or select.minimize=METRIC ranks by a metric, and states its direction where the runs do not declare it; "
        "select.subject_to='predict_ms<=1' keeps only the runs within a limit",
    )
    parser.add_argument(
        "--by",
        help="keys whose values define a group, such as model,dataset or optim.lr; default: all settings but seeds",
    )
    parser.add_argument("--metric", help="what to rank by; default: the test value of the watched metric")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument(
        "--figure",
        metavar="PNG",
        help="also draw the means with error bars; the figure of a sweep becomes an artifact of its parent run",
    )
    parser.add_argument(
        "--curves",
        metavar="PNG",
        help="draw the watched metric (or --metric) over training: mean and std over the seeds of each group",
    )
    arguments = parser.parse_args(argv)

    from mlrun.errors import UserError
    from mlrun.sweep.leaderboard import as_reported, leaderboard
    from mlrun.sweep.selection import Selection

    if arguments.source.startswith("select."):
        arguments.source, arguments.select = "mlrun", [arguments.source, *arguments.select]
    selection = Selection.parse(arguments.select)
    if selection.metric and arguments.metric:
        raise UserError(
            f"--metric {arguments.metric}: select.{'maximize' if selection.mode == 'max' else 'minimize'} already names a metric"
        )

    # `_runs` changes to the directory in which a sweep was started
    bars, lines = (path and Path(path).resolve() for path in (arguments.figure, arguments.curves))
    runs, parent = _runs(arguments.source)
    runs = [as_reported(one) for one in runs]
    by = [key.strip() for key in arguments.by.split(",") if key.strip()] if arguments.by else None
    known = {"model", "dataset"} | {key for one in runs for key in one.params}
    for key in by or ():
        if key not in known:
            from mlrun.config.validate import nearest

            raise UserError(f"--by {key}: no run has such a setting{nearest(key, known)}")
    board = leaderboard(selection.among(runs), selection.metric or arguments.metric, by, selection.mode)
    if not board.rows:
        measured = sorted(
            {name for one in runs for name in one.metrics if "/" in name and not name.startswith("seconds/")}
        )
        from mlrun.config.validate import nearest

        metric = selection.metric or arguments.metric
        what = f"with {metric}{nearest(metric, measured)}" if metric else "with results"
        raise UserError(
            f"{arguments.source}: there are no runs {what}"
            + (f" (measured: {', '.join(measured)})" if measured else "")
        )
    {"table": _table, "csv": _csv, "md": _markdown}[arguments.format](board)
    if bars:
        from mlrun.sweep.figures import leaderboard_figure

        _write(leaderboard_figure(board), bars, parent)
    if lines:
        from mlrun.sweep.figures import curves_figure
        from mlrun.sweep.leaderboard import curves
        from mlrun.tracking.read import metric_histories

        metric = arguments.metric or board.monitor
        axis, found = curves(board, metric_histories, metric)
        if not found:
            raise UserError(
                f"--curves: no run has recorded {metric} while it trained; choose another with --metric, such as train/loss"
            )
        _write(curves_figure(found, metric, axis), lines, parent)
    return 0


def _write(figure: Figure, path: Path, parent: str | None) -> None:
    """Writes a figure to a file, and to the artifacts of a sweep's parent run."""
    from mlrun.report.figures import save

    save(figure, path)
    if parent:
        from mlrun.tracking.read import attach

        attach(parent, path, "figures")


def _runs(source: str) -> tuple[list[StoredRun], str | None]:
    """The runs of an experiment, or those of a sweep and the id of its parent run."""
    from mlrun.errors import UserError
    from mlrun.tracking.read import find_runs

    directory = Path(source)
    if not directory.is_dir():
        return find_runs(source), None
    import os

    from mlrun.sweep.journal import open_sweep

    sweep = open_sweep(directory).sweep
    parent = sweep.get("run_id")
    if parent is None or not os.path.isdir(sweep["cwd"]):
        raise UserError(f"{source}: this sweep has not recorded a run yet")
    os.chdir(sweep["cwd"])
    return [run for run in find_runs(sweep["experiment"]) if run.tags.get("mlflow.parentRunId") == parent], parent


def _head(board: Board) -> list[str]:
    return [
        *(key.removesuffix("._target_") for key in board.shown),
        f"{board.metric} mean",
        "std",
        "n",
        "best",
        "seconds",
        "parameters",
    ]


def _cells(board: Board, row: Row, number: Callable[[float], str], missing: str = "") -> list[str]:
    seconds = sum(row.seconds) / len(row.seconds) if row.seconds else None
    return [
        *(_shown(key, row.keys.get(key, "")) for key in board.shown),
        *([number(row.mean), number(row.std)] if row.n else [missing] * 2), _count(row),
        number(row.best(board.mode)) if row.n else missing, missing if seconds is None else f"{seconds:.2f}",
        missing if row.parameters is None else str(row.parameters),
    ]  # fmt: skip


def _shown(key: str, value: str) -> str:
    return value.rpartition(".")[2] if key.endswith("_target_") else value


def _count(row: Row) -> str:
    return f"{row.n}*" if row.incomplete else str(row.n)


def _notes(board: Board) -> list[str]:
    notes = []
    if any(row.incomplete for row in board.rows):
        notes.append("* incomplete: fewer seeds than other groups, or runs that did not finish")
    if board.others:
        notes.append(f"other runs watch {', '.join(board.others)}: --metric shows them")
    return notes


def _table(board: Board) -> None:
    from mlrun.report.console import new_console
    from mlrun.report.numbers import number

    console = new_console()
    rows = [_cells(board, row, number, "-") for row in board.rows]
    head = _head(board)
    text = len(board.shown)
    if console is not None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for index, name in enumerate(head):
            table.add_column(name, justify="left" if index < text else "right", overflow="fold")
        for index, row in enumerate(rows):
            table.add_row(*map(Text, row), style="green" if index == 0 else None)
        console.print(table)
    else:
        widths = [max(map(len, column)) for column in zip(head, *rows)]
        for row in (head, *rows):
            cells = [
                cell.ljust(width) if i < text else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
            ]
            print("  ".join(cells).rstrip())
    for note in _notes(board):
        print(note)


def _csv(board: Board) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(
        [
            *_head(board)[: len(board.shown)],
            "metric",
            "mean",
            "std",
            "n",
            "best",
            "seconds",
            "parameters",
            "incomplete",
            "best_run",
        ]
    )
    for row in board.rows:
        cells = _cells(board, row, repr)
        at = len(board.shown)
        writer.writerow(
            [
                *cells[:at],
                board.metric,
                *cells[at : at + 2],
                row.n,
                *cells[at + 3 :],
                str(row.incomplete).lower(),
                row.best_run,
            ]
        )


def _markdown(board: Board) -> None:
    from mlrun.report.numbers import number

    print("| " + " | ".join(_head(board)) + " |")
    print("|" + "|".join([" --- "] * len(board.shown) + [" ---: "] * 6) + "|")
    for row in board.rows:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(board, row, number, "-")) + " |")
    for note in _notes(board):
        print(f"\n{note}")
