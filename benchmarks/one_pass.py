"""`python -m benchmarks.one_pass [dates] [reverse] --seeds 1 2 3`: a Transformer, and the non-autoregressive one that learns from its texts.

Both are trained and tested in one process. Per dataset and seed a line with the metric that the dataset names (exact match or BLEU, in percent) on the test part
for the Transformer, for `nat` with predicted lengths and with a maximum length, and how many times as fast as the Transformer each decodes texts one by one,
as Gu et al. 2018 (arXiv:1711.02281) measure it, and the whole test part at once (median of five rounds). One thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.in_process import prepared
from benchmarks.rows import report
from mlrun.config.compose import compose
from mlrun.experiment.run import run
from mlrun.experiment.stored import open_run
from mlrun.report import silent

TEACHERS = {"dates": ["model=transformer"], "reverse": ["experiment=reverse/transformer", "trainer.max_epochs=5"]}
STUDENTS = {
    "dates": ["model=nat"],
    "reverse": ["model=nat", "dataset=reverse", "model.network.hidden=256", "optim.lr=0.002", "trainer.max_epochs=10"],
}
LENGTHS = ("predicted", "maximum")
ROUNDS = 5
SINGLE = 50  # texts that are decoded one by one


class Decoder(NamedTuple):
    """A trained model. value: its metric on the test part. one, all: seconds to decode texts one by one, and the test part at once."""

    metric: str
    value: float
    one: float
    all: float


def trained(directory: str, overrides: list[str]) -> Decoder:
    """Trains in a directory."""
    overrides = [*overrides, "trainer.threads=1"]
    result = run(compose(overrides), directory, overrides, report=silent)
    _, learner = open_run(directory)
    cfg, data = prepared(*overrides)
    texts = data.examples("test").only(data.inputs)
    single = [texts.take(slice(row, row + 1)) for row in range(SINGLE)]
    metric = cfg["dataset"]["measure"]
    value = result.metrics[f"test/{metric}"] * (1 if metric == "bleu" else 100)
    one = seconds(lambda: [learner.predict(text) for text in single])
    return Decoder(metric, value, one, seconds(lambda: learner.predict(texts)))


def seconds(work: Callable[[], Any]) -> float:
    """Median of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measured(dataset: str, seed: int) -> dict[str, Any]:
    """One row of the table."""
    start = time.process_time()
    teacher = trained("teacher", [*TEACHERS[dataset], f"seed={seed}"])
    row = {"dataset": dataset, "seed": seed, "metric": teacher.metric, "transformer": round(teacher.value, 2)}
    for length in LENGTHS:
        overrides = [*STUDENTS[dataset], f"seed={seed}", f"model.network.length={length}", "dataset.teacher=teacher"]
        student = trained(length, overrides)
        row |= {
            length: round(student.value, 2), f"{length}_one_by_one": round(teacher.one / student.one, 1),
            f"{length}_all": round(teacher.all / student.all, 1),
        }  # fmt: skip
    return {**row, "minutes": round((time.process_time() - start) / 60, 1)}


def main(argv: list[str]) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_pass", description=__doc__)
    parser.add_argument("datasets", nargs="*", default=list(TEACHERS), help="dates, reverse")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--output", type=Path, help="CSV file; its rows are kept and continued")
    arguments = parser.parse_args(argv)
    output = arguments.output and arguments.output.resolve()
    for dataset in arguments.datasets:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                row = measured(dataset, seed)
                os.chdir("/")
            report(row, output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
