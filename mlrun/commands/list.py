"""`mlrun list [GROUP]`: the choices of each group, with the first line of their YAML files."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable

from mlrun.config import catalogue
from mlrun.config.catalogue import Entry
from mlrun.config.validate import nearest
from mlrun.errors import UserError
from mlrun.report.console import new_console

SUMMARY = "the choices of each group: models, datasets, optimizers ..."
_OWN = "(yours)"  # marks entries of ./conf and --config-dir


def run(argv: list[str]) -> int:
    """Prints all choices of a group, or an overview of the groups; returns the exit status."""
    parser = argparse.ArgumentParser(prog="mlrun list", description="Lists the choices of each group.")
    parser.add_argument("group", nargs="?", help="model, dataset, optim ...; default: an overview")
    parser.add_argument("--config-dir", help="a directory that extends the groups, as for `mlrun --config-dir`")
    arguments = parser.parse_args(argv)
    groups = catalogue.groups(arguments.config_dir)
    if arguments.group is None:
        counts = [(group, str(len(catalogue.entries(group, arguments.config_dir)))) for group in groups]
        _table("groups (`mlrun list GROUP` shows one)", ("group", "choices"), counts)
        for group in ("model", "dataset"):
            if group in groups:
                print()
                _group(group, arguments.config_dir)
        return 0
    if arguments.group not in groups:
        raise UserError(
            f"there is no group '{arguments.group}'{nearest(arguments.group, groups)} (groups are {', '.join(groups)})"
        )
    _group(arguments.group, arguments.config_dir)
    return 0


def _group(group: str, config_dir: str | None) -> None:
    entries = catalogue.entries(group, config_dir)
    if group == "model":
        default = _default_dataset()
        models = [(_name(e), _summary(e), _words(e.get("fits")), e.dataset or default) for e in entries]
        _table("model", ("name", "what it is", "fits", "default dataset"), models)
    elif group == "dataset":
        datasets = [(_name(e), _summary(e), str(e.get("problem") or "")) for e in entries]
        _table("dataset", ("name", "what it is", "problem"), datasets)
    else:
        _table(group, ("name", "what it is"), [(_name(e), _summary(e)) for e in entries])


def _name(entry: Entry) -> str:
    return f"{entry.name} {_OWN}" if entry.own else entry.name


def _summary(entry: Entry) -> str:
    return "cannot be read: not valid YAML" if entry.fault else entry.summary


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _default_dataset() -> str:
    """The dataset of config.yaml, for models that do not select one."""
    root = Entry("", "config", catalogue.CONF / "config.yaml")
    return root.dataset or ""


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    rows = list(rows)
    console = new_console(width=min(shutil.get_terminal_size().columns, 160))
    if console is not None:
        from rich.table import Table

        table = Table(
            title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
        )
        for column in head:
            table.add_column(
                column, overflow="fold", no_wrap=column == "name", style="cyan" if column == "name" else None
            )
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows)]
    print(title)
    for row in (head, *rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
