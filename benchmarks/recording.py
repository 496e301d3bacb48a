"""What recording metrics at MLflow costs a run, of the time of its process: in the calls, in waiting for the end, and in the threads
that pass the points on to the recorder. One run with 20,000 points, and 16 runs at once."""

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
JOBS, EPOCHS_OF_A_JOB = 16, 400
# a process of its own, so that the recorder is one too, as on the command line
PROCESS = "from benchmarks.recording import watched; watched({epochs}, {directory!r})"
LIMIT = 1.02


def compare(*names: str) -> list[Row]:
    cases = {"alone": alone, "parallel": parallel}
    return [cases[name]() for name in names or cases]


def alone() -> Row:
    found = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            found.append(_result(_start(folder, EPOCHS, "run")))
    if min(run["points"] for run in found) < POINTS:
        raise RuntimeError(f"only {found[0]['points']:,} points were recorded")
    return _row(
        "a run with 20,000 metric points",
        found,
        f"{found[-1]['seconds']:.2f} s of recording; mlp on digits, {EPOCHS:,} epochs, {found[-1]['points']:,} points",
    )


def parallel() -> Row:
    """Processes that begin at the same time and record in the same database."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [_start(folder, EPOCHS_OF_A_JOB, f"run{number}") for number in range(JOBS)]
        found = [_result(process) for process in processes]
    points, slowest = sum(run["points"] for run in found), max(run["seconds"] for run in found)
    return _row(
        f"{JOBS} runs at once that record in one database",
        found,
        f"recording, at most {slowest:.2f} s of a run; mlp on digits, {EPOCHS_OF_A_JOB} epochs each, {points:,} points",
    )


def _start(folder: str, epochs: int, directory: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS.format(epochs=epochs, directory=directory)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def _result(process: subprocess.Popen[str]) -> dict:
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a run ended with status {process.returncode}")
    return json.loads(output.splitlines()[-1])


def _row(name: str, found: list[dict], note: str) -> Row:
    totals = [run["total"] for run in found]
    without = [run["total"] - run["seconds"] for run in found]
    return Row(name, totals, without, limit=LIMIT, note=f"peer: the same less the {note}")


def watched(epochs: int, directory: str) -> None:
    """One run in a directory below the working directory; prints its seconds, those of recording, and how many points."""
    start = time.perf_counter()
    from mlrun.config.compose import compose
    from mlrun.experiment import run as experiment
    from mlrun.report import silent

    overrides = [f"trainer.max_epochs={epochs}", "trainer=cpu"]
    opened, opener = [], experiment._open_run
    experiment._open_run = lambda *arguments: opened.append(Watched(opener(*arguments))) or opened[-1]
    experiment.run(compose(overrides), directory, overrides, report=silent)
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
