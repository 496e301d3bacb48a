"""`mlrun --help`: commands, groups and how to write a run. Read from the commands and YAML files, without composing anything."""

from __future__ import annotations

import shutil
import sys
import textwrap
from importlib import import_module

from mlrun.commands import verbs
from mlrun.config import catalogue

SUMMARY = "show this help"
USAGE = """\
mlrun runs machine-learning experiments from YAML.

  mlrun model=mlp dataset=digits optim=adam optim.lr=1e-3 seed=1    run an experiment
  mlrun -m model=mlp,linear seed=1,2,3                              run a sweep: all combinations
  mlrun model=svm --help                                            describe a choice and its settings
  mlrun --cfg job model=mlp                                         print the configuration without running it

  key=value sets a key, +key=value adds one, ~key removes one."""
SECTIONS = {
    "Find your way": ("list", "show", "check", "completion", "help"),
    "After a run": ("ui", "leaderboard", "predict", "evaluate", "errors", "diagnose", "resume", "sync", "clean"),
}
FOOTER = "Hydra's own options (--config-dir, --info, --resolve ...): mlrun --hydra-help"


def run(argv: list[str]) -> int:
    """Prints the overview, or the help of the command that `argv` names; returns the exit status."""
    if argv and argv[0] in verbs():
        return import_module(f"mlrun.commands.{argv[0]}").run(["--help"])
    width = min(shutil.get_terminal_size((100, 24)).columns, 120) if sys.stdout.isatty() else 100
    print(USAGE)
    others = tuple(set(verbs()) - {verb for section in SECTIONS.values() for verb in section})
    for title, commands in {**SECTIONS, "More commands": others}.items():
        if commands:
            print(f"\n{title} (mlrun COMMAND --help)")
        for verb in commands:
            _wrapped(verb, import_module(f"mlrun.commands.{verb}").SUMMARY, width)
    print("\nGroups and their choices (GROUP=NAME; `mlrun list GROUP` describes them)")
    for group in catalogue.groups():
        _wrapped(group, ", ".join(entry.name for entry in catalogue.entries(group)), width)
    print(f"\n{FOOTER}")
    return 0


def _wrapped(name: str, text: str, width: int) -> None:
    """Prints a name with its text beside it, continued below the text."""
    print(
        textwrap.fill(
            text,
            width,
            initial_indent=f"  {name:14}",
            subsequent_indent=" " * 16,
            break_on_hyphens=False,
            break_long_words=False,
        )
    )
