"""The verbs of the command line: one module each, with `SUMMARY` (one line) and `run(argv) -> exit status`."""

from pkgutil import iter_modules


def verbs() -> "list[str]":
    return sorted(module.name for module in iter_modules(__path__))
