"""`mlrun show GROUP=NAME`: one choice as written, with the settings that it inherits, their types and ranges."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

from mlrun.config import catalogue
from mlrun.config.catalogue import Entry
from mlrun.config.described import Setting, settings, written
from mlrun.config.validate import nearest, nearest_choice
from mlrun.errors import UserError

SUMMARY = "show one choice: its YAML, settings with types, default dataset, measured result, paper"
_VALUES = 26  # columns of the values; longer ones push the type to the next line


def run(argv: list[str]) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="mlrun show", description="Shows a choice of a group, such as model=svm.")
    parser.add_argument("choice", nargs="+", metavar="GROUP=NAME", help="such as model=transformer or optim=adam")
    parser.add_argument("--all", action="store_true", help="also internal settings, and arguments not in the YAML")
    parser.add_argument("--config-dir", help="a directory that extends the groups, as for `mlrun --config-dir`")
    arguments = parser.parse_args(argv)
    for index, choice in enumerate(arguments.choice):
        print("\n" * bool(index), end="")
        _show(find(choice, arguments.config_dir), arguments.all, arguments.config_dir)
    return 0


def find(choice: str, config_dir: str | None = None) -> Entry:
    """The entry of `GROUP=NAME`, or of a name that only one group has.

    Raises:
        UserError: there is none; the message has the nearest name.
    """
    group, equals, name = choice.partition("=")
    groups = catalogue.groups(config_dir)
    if not equals:
        found = [entry for one in groups for entry in catalogue.entries(one, config_dir) if entry.name == choice]
        if len(found) == 1:
            return found[0]
        names = " or ".join(f"{entry.group}={entry.name}" for entry in found)
        raise UserError(f"{choice}: which one? {names}" if found else f"{choice}: write GROUP=NAME, such as model=mlp")
    if group not in groups:
        raise UserError(
            f"{choice}: there is no group '{group}'{nearest(group, groups)} (groups are {', '.join(groups)})"
        )
    entry = catalogue.find(group, name, config_dir)
    if entry is None:
        near = nearest_choice(name, [one.name for one in catalogue.entries(group, config_dir)])
        raise UserError(f"{choice}: there is no {group} of that name{near} (`mlrun list {group}` shows all)")
    if entry.fault:
        raise UserError(entry.fault)
    return entry


def _show(entry: Entry, everything: bool, config_dir: str | None) -> None:
    text = entry.path.read_text(encoding="utf-8").rstrip()
    print(f"{entry.group}={entry.name}  ({_place(entry)})\n")
    print(textwrap.indent(text, "  "))
    known = settings(entry, config_dir)
    shown = [one for one in known if everything or not (one.internal or one.inherited)]
    _table("\nSettings, their types and ranges", [one for one in shown if not one.inherited and not one.missing])
    _table("\nInherited", [one for one in known if one.inherited and (everything or not one.internal)])
    _table("\nFurther arguments (add them with +)", [one for one in shown if one.missing])
    facts = list(_facts(entry, config_dir))
    if facts:
        print()
    for name, fact in facts:
        width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        print(
            textwrap.fill(fact, width, initial_indent=f"{name:<16}", subsequent_indent=" " * 16, break_on_hyphens=False)
        )
    if not everything and len(shown) < len(known):
        print("\nMore settings: --all")


def _place(entry: Entry) -> str:
    """Where the file is: relative to the working directory for the user's, else within the package."""
    root = Path.cwd() if entry.own else catalogue.CONF.parent
    return str(entry.path.relative_to(root)) if entry.path.is_relative_to(root) else str(entry.path)


def _facts(entry: Entry, config_dir: str | None) -> Iterator[tuple[str, str]]:
    if entry.group == "model":
        yield "family", entry.family
        yield "problem", ", ".join(map(str, entry.get("fits") or []))
        yield "default dataset", entry.dataset or catalogue.default_dataset()
    elif entry.group == "dataset":
        yield "problem", str(entry.get("problem") or "")
        fitting = [one.name for one in catalogue.entries("model", config_dir) if (one.dataset or "") == entry.name]
        if fitting:
            yield "default of", ", ".join(fitting)
    if entry.measured:
        yield "measured", entry.measured
    if entry.paper:
        yield "source", entry.paper
    if entry.group == "experiment":
        yield "command", f"mlrun experiment={entry.name}"
    elif entry.group in ("model", "dataset"):
        yield "command", f"mlrun {entry.group}={entry.name}"


def _table(title: str, rows: list[Setting]) -> None:
    """Prints settings with their values and types, aligned. Nothing is cut."""
    if not rows:
        return
    print(title)
    width = max(len(one.key) + one.missing for one in rows)
    for one in rows:
        head = f"  {'+' * one.missing + one.key:<{width}}  {written(one.value):<{_VALUES}}"
        print(f"{head}  {one.kinds}".rstrip())
