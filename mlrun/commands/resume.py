"""`mlrun resume SWEEP_DIR`: finishes what a sweep left undone."""

import argparse
import os
from pathlib import Path

from mlrun.errors import UserError

SUMMARY = "finish a sweep that was interrupted, or whose jobs failed"


def run(argv: "list[str]") -> int:
    parser = argparse.ArgumentParser(prog="mlrun resume", description="Runs the jobs of a sweep that did not finish, into their MLflow runs.")
    parser.add_argument("directory", help="the sweep's directory, as its last line said")
    parser.add_argument("overrides", nargs="*", help="changes of how it is run, such as hydra.launcher.timeout=600")
    arguments = parser.parse_args(argv)
    from mlrun.cli import hydra_application
    from mlrun.sweep.journal import open_sweep

    directory = Path(arguments.directory).resolve()
    sweep = open_sweep(directory).sweep
    other = [override for override in arguments.overrides if not override.lstrip("+").startswith("hydra")]
    if other:
        raise UserError(f"{other[0]}: a sweep is resumed as it was begun; only settings of hydra.launcher and hydra.sweeper can change")
    try:
        os.chdir(sweep["cwd"])  # where its database and its data lie
    except OSError as error:
        raise UserError(f"the sweep was started in {sweep['cwd']}, which is not there: {error.strerror}") from None
    kept = [argument for argument in sweep["argv"] if not argument.startswith(("hydra.sweep.dir=", "hydra.sweeper.resume="))]
    return hydra_application([*kept, f"hydra.sweep.dir='{directory}'", "hydra.sweeper.resume=true", *arguments.overrides])
