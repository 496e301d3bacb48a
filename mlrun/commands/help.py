"""`mlrun --help`: what can be typed. Read from the commands and the YAML files, without composing anything."""

from __future__ import annotations

import shutil
import sys
import textwrap
from importlib import import_module

from mlrun.commands import verbs
from mlrun.config import catalogue

SUMMARY = "this text"
USAGE = """\
mlrun runs machine-learning experiments from YAML.

  A run:     mlrun model=mlp dataset=digits optim=adam optim.lr=1e-3 seed=1
  A sweep:   mlrun -m model=mlp,linear seed=1,2,3
  A look:    mlrun --cfg job model=mlp       all keys of the configuration, each can be overridden
             key=value sets one, +key=value adds one, ~key removes one
"""
FOOTER = """\
Hydra's own options (--config-dir, --info, --resolve, completion ...): mlrun --hydra-help"""


def run(argv: list[str]) -> int:
    if argv:
        return import_module(f"mlrun.commands.{argv[0]}").run(["--help"]) if argv[0] in verbs() else run([])
    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120
    print(USAGE)
    print("Commands (mlrun COMMAND --help)")
    for verb in verbs():
        print(f"  {verb:14}{import_module(f'mlrun.commands.{verb}').SUMMARY}")
    print("\nGroups (group=name; `mlrun list GROUP` says what each is)")
    for group in catalogue.groups():
        names = ", ".join(entry.name for entry in catalogue.entries(group))
        print(
            textwrap.fill(
                names, width, initial_indent=f"  {group:14}", subsequent_indent=" " * 16, break_on_hyphens=False
            )
        )
    print(f"\n{FOOTER}")
    return 0
