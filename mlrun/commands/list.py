"""`mlrun list [GROUP]`: the choices of each group, with the first line of their YAML files."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from mlrun.config import catalogue
from mlrun.config.catalogue import Entry
from mlrun.config.validate import nearest
from mlrun.errors import UserError

SUMMARY = "list models, datasets, optimizers and other choices; models that fit a file"
_OWN = "(yours)"  # marks entries of ./conf and --config-dir
_WIDTH = 100  # columns at most: longer lines are hard to read
_NAMES = 21  # columns of the names at most; a longer name has a line of its own


def run(argv: list[str]) -> int:
    """Prints all choices of a group, or an overview of the groups; returns the exit status."""
    parser = argparse.ArgumentParser(prog="mlrun list", description="Lists the choices of each group.")
    parser.add_argument("group", nargs="?", help="model, dataset, optim ...; default: an overview")
    parser.add_argument("--fits", metavar="FILE", help="list the models that fit a table (.csv, .tsv, .parquet)")
    parser.add_argument("--target", help="with --fits: the column to predict (default: the last one)")
    parser.add_argument("--config-dir", help="a directory that extends the groups, as for `mlrun --config-dir`")
    arguments = parser.parse_args(argv)
    groups = catalogue.groups(arguments.config_dir)
    if arguments.fits:
        return _models_for(arguments.fits, arguments.target, arguments.config_dir)
    if arguments.group is None:
        _overview(groups, arguments.config_dir)
        return 0
    if arguments.group not in groups:
        raise UserError(
            f"there is no group '{arguments.group}'{nearest(arguments.group, groups)} (groups are {', '.join(groups)})"
        )
    _group(arguments.group, arguments.config_dir)
    return 0


def _overview(groups: Sequence[str], config_dir: str | None) -> None:
    """The names of all choices, models by family."""
    print("Models (`mlrun list model` describes them)")
    for family, models in catalogue.by_family(catalogue.entries("model", config_dir)).items():
        _wrapped(family, ", ".join(map(_name, models)))
    for group in sorted(set(groups) - {"model"}, key=lambda group: (group != "dataset", group)):
        print(f"\n{group} (`mlrun list {group}`)")
        _wrapped("", ", ".join(map(_name, catalogue.entries(group, config_dir))))


def _group(group: str, config_dir: str | None) -> None:
    entries = catalogue.entries(group, config_dir)
    if group != "model":
        print(f"{group} (`mlrun show {group}=NAME` shows one)")
        _described((_name(entry), _about(entry)) for entry in entries)
        return
    print("Models, each with its [default dataset]")
    default = catalogue.default_dataset()
    width = _name_width(map(_name, entries))
    for family, models in catalogue.by_family(entries).items():
        print(f"\n{family}")
        _described(((_name(entry), f"{_about(entry)} [{entry.dataset or default}]") for entry in models), width)


def _models_for(path: str, target: str | None, config_dir: str | None) -> int:
    """Prints the models for a table, with what was inferred from it."""
    from mlrun.sweep.suitable import read_table

    problem, spec, summary = read_table(path, target)
    models = [
        entry
        for entry in catalogue.entries("model", config_dir)
        if catalogue.suits(problem, entry.get("fits") or []) and _takes_rows(entry, spec)
    ]
    print(f"{path}: {problem}")
    for name, text in summary:
        first, *rest = _lines(f"{name}: {text}", 4)
        print(f"  {first}", *(f"    {line}" for line in rest), sep="\n")
    for family, members in catalogue.by_family(models).items():
        print(f"\n{family}")
        _described(((_name(entry), _about(entry)) for entry in members), _name_width(map(_name, models)))
    chosen = f"dataset=csv dataset.path={path}" + (f" dataset.target={target}" if target else "")
    print(f"\nTo train one: mlrun model=NAME {chosen}\nTo compare a dozen: mlrun -m experiment=compare {chosen}")
    return 0


def _takes_rows(entry: Entry, spec: Iterable[str]) -> bool:
    """Whether the network of a model needs nothing that a table lacks, such as the shape of an image."""
    from mlrun.config.signatures import signature
    from mlrun.config.validate import OFFERED

    given = {*spec, *OFFERED["model"]}
    for part in ("network", "encoder", "decoder", "generator", "discriminator"):
        node = entry.get(part)
        if isinstance(node, dict) and isinstance(node.get("_target_"), str):
            takes = signature(node["_target_"])
            if takes and any(p.required and p.name not in node and p.name not in given for p in takes.parameters):
                return False
    return not entry.get("preprocessor")


def _name(entry: Entry) -> str:
    return f"{entry.name} {_OWN}" if entry.own else entry.name


def _about(entry: Entry) -> str:
    return "cannot be read: not valid YAML" if entry.fault else entry.summary


def _name_width(names: Iterable[str]) -> int:
    return min(_NAMES, max(map(len, names), default=0))


def _described(rows: Iterable[tuple[str, str]], width: int | None = None) -> None:
    """Prints names with their descriptions beside them. Names are never divided. width: columns of the names; None: as needed."""
    rows = list(rows)
    width = _name_width(name for name, _ in rows) if width is None else width
    for name, text in rows:
        first, *rest = list(_lines(text, width + 4)) or [""]
        if len(name) > width:
            print(f"  {name}")
            name = ""
        print(f"  {name:<{width}}  {first}".rstrip())
        for line in rest:
            print(" " * (width + 4) + line)


def _wrapped(head: str, text: str) -> None:
    """Prints a heading with names beside or below it, depending on whether there is a heading."""
    indent = 4 if head else 2
    if head:
        print(f"  {head}")
    for line in _lines(text, indent):
        print(" " * indent + line)


def _lines(text: str, indent: int) -> Iterator[str]:
    width = min(shutil.get_terminal_size((80, 24)).columns, _WIDTH)
    # a name with its mark stays together
    for line in textwrap.wrap(
        text.replace(f" {_OWN}", f"\0{_OWN}"), max(30, width - indent), break_on_hyphens=False, break_long_words=False
    ):
        yield line.replace("\0", " ")
