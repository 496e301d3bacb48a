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

    from mlrun.errors import UserError
    from mlrun.sweep.leaderboard import Board, Row
    from mlrun.tracking.stored_run import StoredRun

SUMMARY = "compare runs: mean, standard deviation and best value over seeds, best first"
DEFAULT = "mlrun"  # tracking.experiment of conf/config.yaml
FORMATS = ("table", "csv", "md")
OPTIONAL = ("parameters", "seconds", "best", "std")  # columns that a narrow terminal does without, the first one first


def run(argv: list[str]) -> int:
    """Runs the command. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun leaderboard",
        description="Compares runs. Runs that differ only in their seed are one row: mean, standard deviation (divided by n), "
        "number of seeds, best value. Datasets and problems have separate tables.",
    )
    parser.add_argument(
        "source", nargs="?", default=DEFAULT, help="an MLflow experiment or the directory of a sweep (default: mlrun)"
    )
    parser.add_argument(
        "select",
        nargs="*",
        help="select.maximize=METRIC or select.minimize=METRIC sorts by a metric in the stated direction, for metrics that do not declare one; "
        "select.subject_to='predict_ms<=1' keeps only the runs within a limit",
    )
    parser.add_argument(
        "--by",
        help="columns whose values define a row, such as model,dataset or optim.lr; default: all settings but seeds",
    )
    parser.add_argument("--metric", help="metric to sort by; default: the monitored metric on the validation split")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument(
        "--figure",
        metavar="PNG",
        help="also draw the means of the largest table with error bars; for a sweep, also an artifact of its parent run",
    )
    parser.add_argument(
        "--curves",
        metavar="PNG",
        help="also draw the monitored metric (or --metric) over training for the largest table: mean and standard deviation over seeds",
    )
    arguments = parser.parse_args(argv)

    from mlrun.errors import UserError
    from mlrun.sweep.leaderboard import as_reported, leaderboards
    from mlrun.sweep.selection import Selection

    if arguments.source.startswith("select."):
        arguments.source, arguments.select = DEFAULT, [arguments.source, *arguments.select]
    selection = Selection.parse(arguments.select)
    if selection.metric and arguments.metric:
        raise UserError(
            f"--metric {arguments.metric}: select.{'maximize' if selection.mode == 'max' else 'minimize'} already names a metric"
        )

    # `_runs` changes to the directory in which a sweep was started
    bars, lines = (path and Path(path).resolve() for path in (arguments.figure, arguments.curves))
    needed = {name for name in (selection.metric, arguments.metric, *(one[0] for one in selection.conditions)) if name}
    runs, parent = _runs(arguments.source, needed)
    runs = [as_reported(one) for one in runs]
    metric = selection.metric or arguments.metric
    boards = leaderboards(selection.among(runs), metric, _columns(arguments.by, runs), selection.mode)
    if not boards:
        raise _nothing_to_compare(arguments.source, runs, metric)
    if arguments.format == "csv":
        _csv(boards)
    for board in boards if arguments.format != "csv" else ():
        {"table": _table, "md": _markdown}[arguments.format](board)
    board = boards[0]
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


def _columns(by: str | None, runs: list[StoredRun]) -> list[str] | None:
    """The columns of `--by`. Raises UserError for one that no run has."""
    from mlrun.config.validate import nearest
    from mlrun.errors import UserError
    from mlrun.sweep.leaderboard import keys_of

    if not by:
        return None
    known, wanted = keys_of(runs), [key.strip() for key in by.split(",") if key.strip()]
    for key in wanted:
        if key not in known:
            raise UserError(f"--by {key}: no run has such a setting{nearest(key, known)}")
    return wanted


def _nothing_to_compare(source: str, runs: list[StoredRun], metric: str | None) -> UserError:
    from mlrun.config.validate import nearest
    from mlrun.errors import UserError
    from mlrun.tracking.directions import EARLIER_WALL, WALL

    names = {name for one in runs for name in one.metrics}
    measured = sorted(name for name in names if "/" in name and not name.startswith((WALL, EARLIER_WALL)))
    what = f"with {metric}{nearest(metric, measured)}" if metric else "with results"
    return UserError(
        f"{source}: there are no runs {what}" + (f" (measured: {', '.join(measured)})" if measured else "")
    )


def _write(figure: Figure, path: Path, parent: str | None) -> None:
    """Writes a figure to a file, and to the artifacts of a sweep's parent run."""
    from mlrun.report.figures import save

    save(figure, path)
    if parent:
        from mlrun.tracking.read import attach

        attach(parent, path, "figures")


def _runs(source: str, needed: set[str]) -> tuple[list[StoredRun], str | None]:
    """The runs of an experiment, or those of a sweep and the id of its parent run. needed: metrics that the command names."""
    import os

    from mlrun.errors import UserError
    from mlrun.sweep.journal import SWEEP, open_sweep
    from mlrun.sweep.leaderboard import read_runs

    directory = Path(source)
    if not (directory / SWEEP).is_file():
        try:  # a directory may have the name of an experiment: that of this package has the name of the default one
            return read_runs(source, needed), None
        except UserError:
            if source != DEFAULT and directory.is_dir():
                open_sweep(directory)  # raises
            raise

    sweep = open_sweep(directory).sweep
    parent = sweep.get("run_id")
    if parent is None or not os.path.isdir(sweep["cwd"]):
        raise UserError(f"{source}: this sweep has not recorded a run yet")
    os.chdir(sweep["cwd"])
    return [
        run for run in read_runs(sweep["experiment"], needed) if run.tags.get("mlflow.parentRunId") == parent
    ], parent


def _head(board: Board) -> list[str]:
    return [
        *(key.removesuffix("._target_") for key in board.shown),
        f"{board.metric} mean",
        "std",
        "n",
        "best",
        *([f"{board.test} mean"] if board.test else []),
        "seconds",
        "parameters",
    ]


def _cells(board: Board, row: Row, number: Callable[[float], str], missing: str = "") -> list[str]:
    seconds = sum(row.seconds) / len(row.seconds) if row.seconds else None
    return [
        *(_shown(key, row.keys.get(key, "")) for key in board.shown),
        *([number(row.mean), number(row.std)] if row.n else [missing] * 2), _count(row),
        number(row.best(board.mode)) if row.n else missing,
        *([missing if row.test is None else number(row.test)] if board.test else []),
        missing if seconds is None else f"{seconds:.2f}", missing if row.parameters is None else f"{row.parameters}",
    ]  # fmt: skip


def _shown(key: str, value: str) -> str:
    return value.rpartition(".")[2] if key.endswith("_target_") else value


def _count(row: Row) -> str:
    return f"{row.n}*" if row.incomplete else str(row.n)


def _title(board: Board) -> str:
    """What the runs have in common, and how they are sorted."""
    subject = ", ".join(part for part in (board.dataset, board.problem) if part)
    if not board.metric:
        return f"{subject + ': ' if subject else ''}no results yet"
    direction = "larger is better" if board.mode == "max" else "smaller is better"
    return f"{subject + ': ' if subject else ''}sorted by {board.metric}, {direction}"


def _note(board: Board) -> str | None:
    if any(row.incomplete for row in board.rows):
        return "* incomplete: fewer seeds than other rows, or unfinished runs"
    return None


def _table(board: Board) -> None:
    from mlrun.report.console import new_console
    from mlrun.report.numbers import number
    from mlrun.report.tables import aligned, fitted

    console = new_console()
    rows = [_cells(board, row, number, "-") for row in board.rows]
    head = _head(board)
    text = len(board.shown)
    if console is not None:
        from rich.text import Text

        table, shown = fitted(head, rows, text, console.width, [*OPTIONAL, f"{board.test} mean"])
        for index, row in enumerate(rows):
            cells = [Text(cell) for name, cell in zip(head, row) if name in shown]
            table.add_row(*cells, style="green" if index == 0 else None)
        console.print(Text(f"\n{_title(board)}", style="bold"))
        console.print(table)
        if left_out := [name for name in head if name not in shown]:
            note = f"left out: {', '.join(left_out)} (a wider terminal or --format csv shows them)"
            console.print(Text(note, style="dim"))
    else:
        print(f"\n{_title(board)}")
        for line in aligned([head, *rows], [index < text for index in range(len(head))]):
            print(line)
    if note := _note(board):
        print(note)


def _csv(boards: list[Board]) -> None:
    """One table of all boards: a column for each setting that any of them shows."""
    shown = list(dict.fromkeys(["dataset", "problem", *(key for board in boards for key in board.shown)]))
    results = ("metric", "mean", "std", "n", "best", "test", "seconds", "parameters", "incomplete", "best_run")
    writer = csv.DictWriter(
        sys.stdout, [*(key.removesuffix("._target_") for key in shown), *results], lineterminator="\n"
    )
    writer.writeheader()
    for board in boards:
        for row in board.rows:
            given = {"dataset": board.dataset, "problem": board.problem, **row.keys}
            cells = {key.removesuffix("._target_"): _shown(key, given.get(key, "")) for key in shown}
            measured = (
                {"mean": repr(row.mean), "std": repr(row.std), "best": repr(row.best(board.mode))} if row.n else {}
            )
            writer.writerow(
                cells
                | measured
                | {
                    "metric": board.metric,
                    "n": row.n,
                    "test": "" if row.test is None else repr(row.test),
                    "seconds": f"{sum(row.seconds) / len(row.seconds):.2f}" if row.seconds else "",
                    "parameters": "" if row.parameters is None else row.parameters,
                    "incomplete": str(row.incomplete).lower(),
                    "best_run": row.best_run,
                }
            )


def _markdown(board: Board) -> None:
    from mlrun.report.numbers import number

    head = _head(board)
    print(f"**{_title(board)}**\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join([" --- "] * len(board.shown) + [" ---: "] * (len(head) - len(board.shown))) + "|")
    for row in board.rows:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(board, row, number, "-")) + " |")
    if note := _note(board):
        print(f"\n{note}")
    print()
