"""`mlrun resume RUN`: goes on with a run, or with a sweep, that ended early."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from mlrun.errors import UserError

SUMMARY = "go on with a run or a sweep that was interrupted, killed or failed"


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="mlrun resume",
        description="Goes on from a run's last checkpoint, in the same directory and MLflow run; or runs the jobs of a sweep that did not finish.",
    )
    parser.add_argument("run", help="directory of a run or sweep, checkpoint of a run, or MLflow run id")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        help="changes, such as trainer.max_epochs=40; of a sweep hydra.launcher.timeout=600",
    )
    arguments = parser.parse_args(argv)
    from mlrun.sweep.journal import SWEEP

    if (Path(arguments.run) / SWEEP).is_file():
        return _sweep(arguments.run, arguments.overrides)
    from mlrun.experiment.resuming import find, resume_run

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    return resume_run(find(arguments.run), arguments.overrides)


def _sweep(directory: str, overrides: list[str]) -> int:
    from mlrun.cli import hydra_application
    from mlrun.sweep.journal import open_sweep

    directory = Path(directory).resolve()
    sweep = open_sweep(directory).sweep
    other = [override for override in overrides if not override.lstrip("+").startswith("hydra")]
    if other:
        raise UserError(
            f"{other[0]}: a sweep is resumed as it was begun; only settings of hydra.launcher and hydra.sweeper can change"
        )
    try:
        os.chdir(sweep["cwd"])  # where its database and its data lie
    except OSError as error:
        raise UserError(f"the sweep was started in {sweep['cwd']}, which is not there: {error.strerror}") from None
    kept = [
        argument for argument in sweep["argv"] if not argument.startswith(("hydra.sweep.dir=", "hydra.sweeper.resume="))
    ]
    return hydra_application([*kept, f"hydra.sweep.dir='{directory}'", "hydra.sweeper.resume=true", *overrides])
