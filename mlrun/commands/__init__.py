"""The commands of `mlrun`: one module each, with `SUMMARY` (one line) and `run(argv) -> exit status`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from mlrun.errors import UserError

TRUST = "trust=true"  # the user's consent to files that can run code
LAST, OUTPUTS = "last", "outputs"


def verbs() -> list[str]:
    """Names of the commands; modules whose names begin with an underscore are not commands."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


class RunParser(argparse.ArgumentParser):
    """Arguments of a command that opens a stored run: the run, and whether its files may run code.

    `--trust` can also be written `trust=true`, as in the overrides of a run.
    """

    def __init__(self, verb: str, description: str, **options: Any):
        super().__init__(prog=f"mlrun {verb}", description=description, **options)
        self.add_argument(
            "run",
            type=named_run,
            help=f"the run's directory or its MLflow id; {LAST}: the newest finished run in {OUTPUTS}/",
        )
        self.add_argument(
            "--trust", action="store_true", help="also load a model written by another user that can run code"
        )

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        return super().parse_known_args(with_trust(args or []), namespace)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        return super().parse_args(with_trust(args or []), namespace)


def with_trust(argv: Sequence[str]) -> list[str]:
    """The arguments with `trust=true` written as the option `--trust`."""
    return ["--trust" if argument == TRUST else argument for argument in argv]


def named_run(run: str, finished: bool = True) -> str:
    """The directory that `last` stands for; any other name of a run as it is.

    Args:
        run: as a user gives it.
        finished: whether `last` is the newest finished run, or the newest interrupted one.

    Raises:
        UserError: there is no such run in the directory for outputs.
    """
    if run != LAST or os.path.exists(run):
        return run
    from mlrun.experiment.state import last_run

    found = last_run(OUTPUTS, finished)
    if found is None:
        raise UserError(
            f"{LAST}: there is no {'finished' if finished else 'interrupted'} run in {Path(OUTPUTS).resolve()}; give a directory or an MLflow run id"
        )
    _say(f"{LAST}: {found}")
    return str(found)


@cache
def _say(line: str) -> None:
    """Prints a line, once: a command may parse its arguments twice."""
    print(line, file=sys.stderr)
