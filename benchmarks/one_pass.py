"""`python -m benchmarks.one_pass [dates] [reverse] --seeds 1 2 3`: a Transformer, and the non-autoregressive one that learns from its texts.

Both are trained and tested in one process. Per dataset and seed a line with the metric that the dataset names (exact match or BLEU, in percent) on the test part
for the Transformer, for `nat` with predicted lengths and with a maximum length, and how many times as fast as the Transformer each decodes the test part
(median of five rounds). One thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import report
from mlrun.config.compose import compose
from mlrun.config.instantiate import build, plain
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


def trained(directory: str, overrides: list[str]) -> tuple[float, float]:
    """(metric of the test part in percent, seconds to decode it) of a run in a directory."""
    overrides = [*overrides, "trainer.threads=1"]
    result = run(compose(overrides), directory, overrides, report=silent)
    cfg, learner = open_run(directory)
    data = build(plain(cfg)["dataset"], {"seed": cfg["seed"], "data_dir": None, "name": cfg["dataset"]["name"]})
    data.prepare()
    texts = data.examples("test").only(data.inputs)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        learner.predict(texts)
        times.append(time.perf_counter() - start)
    value = result.metrics[f"test/{cfg['dataset']['measure']}"]
    return value if cfg["dataset"]["measure"] == "bleu" else 100 * value, statistics.median(times)


def measured(dataset: str, seed: int) -> dict[str, Any]:
    """One row of the table."""
    start = time.process_time()
    teacher, seconds = trained("teacher", [*TEACHERS[dataset], f"seed={seed}"])
    row = {
        "dataset": dataset,
        "seed": seed,
        "metric": open_run("teacher")[0]["dataset"]["measure"],
        "transformer": round(teacher, 2),
    }
    for length in LENGTHS:
        overrides = [*STUDENTS[dataset], f"seed={seed}", f"model.network.length={length}", "dataset.teacher=teacher"]
        value, own = trained(length, overrides)
        row[length], row[f"{length}_times_as_fast"] = round(value, 2), round(seconds / own, 1)
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
