"""`mlrun sync [DIR ...]`: uploads results that MLflow did not receive during a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlrun.commands import with_trust
from mlrun.errors import UserError

SUMMARY = "upload results recorded while the MLflow server was unreachable"


def run(argv: list[str]) -> int:
    """Sends everything that is left in the directories; returns the exit status, 1 if something is left."""
    parser = argparse.ArgumentParser(
        prog="mlrun sync",
        description="Uploads metrics, artifacts and models recorded while the MLflow server was unreachable. Nothing is uploaded twice.",
    )
    parser.add_argument(
        "directory",
        nargs="*",
        default=["outputs"],
        help="directories of runs or sweeps, or directories that contain them; default: outputs",
    )
    parser.add_argument(
        "--trust", action="store_true", help="also read files that another user wrote; these can run code"
    )
    arguments = parser.parse_args(with_trust(argv))
    for name in arguments.directory:
        if not Path(name).is_dir() and arguments.directory != ["outputs"]:
            raise UserError(f"{name}: there is no such directory")
    from mlrun.tracking.sync import send, unsent

    found = [directory for name in arguments.directory for directory in unsent(name)]
    if not found:
        print("nothing to upload: MLflow has received everything")
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
        if sent.gone:
            print(f"{directory}: removed before they could be sent: {', '.join(sent.gone)}", file=sys.stderr)
        if sent.refused:
            failed += 1
            print(f"{directory}: MLflow rejects some of them: {sent.refused}", file=sys.stderr)
    return 1 if failed else 0
