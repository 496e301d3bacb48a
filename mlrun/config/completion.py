"""Completions of a partial command line, for the shells' completion scripts. Imports Hydra only to complete dotted keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlrun.config import catalogue


def completions(
    words: Sequence[str], commands: Sequence[str], options: Callable[[str | None], Sequence[str]]
) -> list[str]:
    """What the last word can become.

    Args:
        words: the words after `mlrun`; the last one is completed and may be empty.
        commands: names of the commands.
        options: the options of a command; of None, those of a run.

    Returns:
        Whole words. A word that ends in `=` or `.` continues.
    """
    *before, current = words or [""]
    command = before[0] if before and before[0] in commands else None
    if current.startswith("-"):
        found = list(options(command))
    elif command == "list":
        found = catalogue.groups()
    elif command == "show":
        found = _choices(current)
    elif command == "help":
        found = list(commands)
    elif command == "completion":
        found = ["bash", "zsh", "fish"]
    elif command:
        return []  # a run: files and directories, which the shell completes
    else:
        found = [*_choices(current), *_keys(before, current)]
        if not before:
            found += commands
    return sorted({word for word in found if word.startswith(current)})


def _choices(current: str) -> list[str]:
    """`model=` for a part of a group's name, `model=mlp` and so on after the equals sign, also after a comma of a sweep."""
    group, equals, rest = current.partition("=")
    if not equals:
        return [f"{group}=" for group in catalogue.groups()]
    head = rest.rpartition(",")[0]
    head = f"{head}," if head else ""
    return [f"{group}={head}{entry.name}" for entry in catalogue.entries(group)]


def _keys(before: Sequence[str], current: str) -> list[str]:
    """The keys of the configuration that the words before it compose, one level at a time: `optim.`, then `optim.lr=`."""
    if "=" in current:
        return []
    parent, dot, _ = current.rpartition(".")
    if not dot:
        return ["seed="]
    from omegaconf import DictConfig, OmegaConf

    from mlrun.config.compose import compose
    from mlrun.config.explain import COMPOSITION_ERRORS

    chosen = [word for word in before if word.partition("=")[0] in catalogue.groups()]
    try:
        node = OmegaConf.select(compose(chosen), parent)
    except COMPOSITION_ERRORS:
        return []
    if not isinstance(node, DictConfig):
        return []
    is_node = {
        key: not OmegaConf.is_missing(node, key) and isinstance(node._get_node(key), DictConfig) for key in node.keys()
    }
    return [f"{parent}.{key!s}{'.' if is_node[key] else '='}" for key in is_node if not str(key).startswith("_")]
