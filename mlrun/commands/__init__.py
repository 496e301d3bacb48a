"""The verbs of the command line: one module each, with `SUMMARY` (one line) and `run(argv) -> exit status`."""

from __future__ import annotations

import argparse
from pkgutil import iter_modules


def verbs() -> list[str]:
    return sorted(module.name for module in iter_modules(__path__))


class RunParser(argparse.ArgumentParser):
    """Arguments of a verb that opens a stored run: the run, and whether files in it may run code (`--trust`, or `trust=true` as a run takes it)."""

    def __init__(self, verb: str, description: str):
        super().__init__(prog=f"mlrun {verb}", description=description)
        self.add_argument("run", help="a run directory or an MLflow run id")
        self.add_argument(
            "--trust", action="store_true", help="also load a model written by another user that can run code"
        )

    def parse_args(self, argv: list[str]):
        return super().parse_args(["--trust" if argument == "trust=true" else argument for argument in argv])
