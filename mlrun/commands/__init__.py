"""The commands of `mlrun`: one module each, with `SUMMARY` (one line) and `run(argv) -> exit status`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pkgutil import iter_modules
from typing import Any

TRUST = "trust=true"  # the user's consent to files that can run code


def verbs() -> list[str]:
    """Names of the commands; modules whose names begin with an underscore are not commands."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


class RunParser(argparse.ArgumentParser):
    """Arguments of a command that opens a stored run: the run, and whether its files may run code.

    `--trust` can also be written `trust=true`, as in the overrides of a run.
    """

    def __init__(self, verb: str, description: str, **options: Any):
        super().__init__(prog=f"mlrun {verb}", description=description, **options)
        self.add_argument("run", help="the run's directory or its MLflow id")
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
