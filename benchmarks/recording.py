"""What recording 20,000 metric points at MLflow costs a run, of the time of its process: in the calls, in waiting for the end, and in the
threads that pass the points on to the recorder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from benchmarks.comparison import Row

EPOCHS, POINTS = 4000, 20_000
PROCESS = "from benchmarks.recording import watched; watched({epochs})"  # of its own, so that the recorder is one too, as on the command line


def compare() -> list[Row]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    found = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", PROCESS.format(epochs=EPOCHS)]
            output = subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            found.append(json.loads(output.splitlines()[-1]))
    if min(run["points"] for run in found) < POINTS:
        raise RuntimeError(f"only {found[0]['points']:,} points were recorded")
    note = f"peer: the same less the {found[-1]['seconds']:.2f} s of recording; mlp on digits, {EPOCHS:,} epochs, {found[-1]['points']:,} points"
    totals = [run["total"] for run in found]
    return [
        Row(
            "a run with 20,000 metric points",
            totals,
            [run["total"] - run["seconds"] for run in found],
            limit=1.02,
            note=note,
        )
    ]


def watched(epochs: int) -> None:
    """One run in the working directory; prints its seconds, those of recording, and how many points."""
    start = time.perf_counter()
    from mlrun.config.compose import compose
    from mlrun.experiment import run as experiment
    from mlrun.report import silent

    overrides = [f"trainer.max_epochs={epochs}", "trainer=cpu"]
    opened, opener = [], experiment._open_run
    experiment._open_run = lambda *arguments: opened.append(Watched(opener(*arguments))) or opened[-1]
    experiment.run(compose(overrides), "run", overrides, report=silent)
    print(json.dumps({"total": time.perf_counter() - start, "seconds": opened[0].seconds, "points": opened[0].points}))


class Watched:
    """A run whose calls are timed."""

    def __init__(self, run):
        self.run, self.seconds, self.points = run, 0.0, 0

    def __getattr__(self, name):
        found = getattr(self.run, name)
        return self._timed(name, found) if callable(found) else found

    def _timed(self, name, method):
        def call(*arguments, **options):
            if name == "close":
                self.seconds += sum(_cpu_seconds(thread) for thread in threading.enumerate() if thread.name == "mlflow")
            if name == "metrics":
                self.points += len(arguments[0])
            start = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return call


def _cpu_seconds(thread) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
