"""`mlrun resume RUN`: resumes a run or a sweep that ended early."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

from mlrun.commands import LAST, OUTPUTS, TRUST, named_run
from mlrun.errors import UserError

SUMMARY = "resume an interrupted run or sweep, or train longer"


def run(argv: list[str]) -> int:
    """Resumes from a run's last checkpoint, or runs the unfinished jobs of a sweep; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun resume",
        description="Resumes a run from its last checkpoint, in the same directory and MLflow run; or runs the unfinished jobs of a sweep.",
    )
    parser.add_argument(
        "run",
        type=lambda run: named_run(run, finished=False),
        help=f"directory of a run or sweep, checkpoint of a run, or MLflow run id; {LAST}: the newest interrupted run in {OUTPUTS}/",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        help="changes, such as trainer.max_epochs=40; of a sweep hydra.launcher.timeout=600",
    )
    arguments = parser.parse_args(argv)
    from mlrun.sweep.journal import SWEEP

    if (Path(arguments.run) / SWEEP).is_file():
        return _resume_sweep(Path(arguments.run).resolve(), arguments.overrides)
    from mlrun.experiment.resuming import find, resume_run

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    return resume_run(find(arguments.run, TRUST in arguments.overrides), arguments.overrides)


def _resume_sweep(directory: Path, overrides: list[str]) -> int:
    from mlrun.commands._application import hydra_application
    from mlrun.config.overrides import for_hydra
    from mlrun.data.readers.trust import has_signature
    from mlrun.sweep.journal import SWEEP, open_sweep

    sweep = open_sweep(directory).sweep
    trust = TRUST in overrides
    if not (trust or has_signature(sweep)):
        raise UserError(
            f"{directory / SWEEP} was not written by you, and would run, in {sweep.get('cwd')}: "
            f"{shlex.join(['mlrun', *map(str, sweep.get('argv', []))])}. Rejected. If you trust its source, add trust=true"
        )
    others = [word for word in overrides if word != TRUST and not word.lstrip("+").startswith("hydra")]
    if others:
        raise UserError(
            f"{others[0]}: a resumed sweep keeps its settings, except those of hydra.launcher and hydra.sweeper"
        )
    try:
        os.chdir(sweep["cwd"])  # its database and its data lie there
    except OSError as error:
        raise UserError(f"the sweep was started in {sweep['cwd']}, which cannot be entered: {error.strerror}") from None
    kept = [
        word for word in sweep["argv"] if not word.startswith(("hydra.sweep.dir=", "hydra.sweeper.resume=", "trust="))
    ]
    return hydra_application(
        [*kept, for_hydra("hydra.sweep.dir", str(directory)), "hydra.sweeper.resume=true", *overrides]
    )
