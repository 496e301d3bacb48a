"""`mlrun sync [DIR ...]`: sends what MLflow did not take while a run was going on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlrun.errors import UserError

SUMMARY = "send to MLflow what it did not take while a run was going on"


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="mlrun sync",
        description="Sends metrics, artifacts and models that a server which did not answer has missed. Nothing is sent twice.",
    )
    parser.add_argument(
        "directory",
        nargs="*",
        default=["outputs"],
        help="directories of runs or sweeps, or above them; default: outputs",
    )
    parser.add_argument(
        "--trust", action="store_true", help="also read what was written by another user; that can run code"
    )
    arguments = parser.parse_args([{"trust=true": "--trust"}.get(argument, argument) for argument in argv])
    for name in arguments.directory:
        if not Path(name).is_dir() and arguments.directory != ["outputs"]:
            raise UserError(f"{name}: there is no such directory")
    from mlrun.tracking.sync import send, unsent

    found = [directory for name in arguments.directory for directory in unsent(name)]
    if not found:
        print("everything has arrived at MLflow")
        return 0
    failed = 0
    for directory in found:
        try:
            sent = send(directory.resolve(), arguments.trust)
        except UserError as error:
            failed += 1
            print(f"{directory}: {error}", file=sys.stderr)
            continue
        print(f"{directory}: {sent.messages} messages sent to run {sent.run_id}")
        if sent.refused:
            failed += 1
            print(f"{directory}: MLflow refuses some of them: {sent.refused}", file=sys.stderr)
    return 1 if failed else 0
