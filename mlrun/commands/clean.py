"""`mlrun clean [DIR ...]`: removes the checkpoints of finished runs, except the best and the last."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlrun.errors import UserError

SUMMARY = "remove checkpoints of finished runs, all but the best and the last"
SHOWN = 20  # runs that are listed one by one


def run(argv: list[str]) -> int:
    """Lists what can be removed, and removes it with `--delete`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun clean",
        description="Lists unneeded checkpoints of finished runs (all but the best and the last of each run) and their sizes. "
        "Runs that can still be resumed keep all checkpoints. Nothing is removed without --delete.",
    )
    parser.add_argument(
        "directory",
        nargs="*",
        default=["outputs"],
        help="directories of runs, or directories that contain them; default: outputs",
    )
    parser.add_argument("--delete", action="store_true", help="remove the listed checkpoints")
    arguments = parser.parse_args(argv)
    for name in arguments.directory:
        if not Path(name).is_dir() and arguments.directory != ["outputs"]:
            raise UserError(f"{name}: there is no such directory")
    from mlrun.experiment.cleaning import needless
    from mlrun.report.numbers import size
    from mlrun.report.terminal import short_path

    found = needless(arguments.directory)
    if not found:
        print("there is nothing to remove: finished runs have only their best and last checkpoints")
        return 0
    removed, failed = 0, 0
    for number, one in enumerate(found):
        if number < SHOWN:
            print(f"{short_path(one.directory)}: {', '.join(path.name for path in one.paths)}, {size(one.bytes)}")
        if arguments.delete:
            try:
                one.remove()
                removed += one.bytes
            except OSError as error:
                failed += 1
                print(f"mlrun: {one.directory}: {error}", file=sys.stderr)
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN:,} more runs")
    total = sum(one.bytes for one in found)
    if arguments.delete:
        print(f"removed {size(removed)} of {len(found) - failed:,} run{'s' * (len(found) - failed != 1)}")
    else:
        print(f"{size(total)} of {len(found):,} run{'s' * (len(found) != 1)} could be removed: mlrun clean --delete")
    return 1 if failed else 0
