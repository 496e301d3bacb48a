"""`mlrun --help`: commands, groups and how to write a run. Read from the commands and YAML files, without composing anything."""

from __future__ import annotations

import shutil
import sys
import textwrap
from importlib import import_module

from mlrun.commands import verbs
from mlrun.config import catalogue

SUMMARY = "this overview"
USAGE = """\
mlrun runs machine-learning experiments from YAML.

  Run:       mlrun model=mlp dataset=digits optim=adam optim.lr=1e-3 seed=1
  Sweep:     mlrun -m model=mlp,linear seed=1,2,3
  Settings:  mlrun --cfg job model=mlp       prints all keys of the configuration
             key=value sets one, +key=value adds one, ~key removes one
"""
FOOTER = """\
Hydra's own options (--config-dir, --info, --resolve, completion ...): mlrun --hydra-help"""


def run(argv: list[str]) -> int:
    """Prints the overview, or the help of the command that `argv` names; returns the exit status."""
    if argv and argv[0] in verbs():
        return import_module(f"mlrun.commands.{argv[0]}").run(["--help"])
    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120
    print(USAGE)
    print("Commands (mlrun COMMAND --help)")
    for verb in verbs():
        print(f"  {verb:14}{import_module(f'mlrun.commands.{verb}').SUMMARY}")
    print("\nGroups (group=name; `mlrun list GROUP` describes each choice)")
    for group in catalogue.groups():
        names = ", ".join(entry.name for entry in catalogue.entries(group))
        print(
            textwrap.fill(
                names, width, initial_indent=f"  {group:14}", subsequent_indent=" " * 16, break_on_hyphens=False
            )
        )
    print(f"\n{FOOTER}")
    return 0
