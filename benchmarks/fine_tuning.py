"""What pre-training gives: BERT's four tasks with 500 labelled rows, from a run of bert_pretrain, from random weights, and with few trained parameters.

    python -m benchmarks.fine_tuning RUN [RUN of another seed ...] [--tasks bert_pair ...] [--starts run random lora ...] [--output FILE.csv]

The run of seed N starts the models of seed N, whose test rows come from texts that it has not seen. Peak memory is not measured on the CPU; the bytes of
gradients and of Adam's moments are counted instead.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.in_process import trained
from benchmarks.rows import report
from mlrun.experiment.result import seed_everything
from mlrun.experiment.stored import open_run

TASKS = {"bert_classifier": "accuracy", "bert_pair": "accuracy", "bert_tagger": "f1", "bert_qa": "f1"}
ROWS = {
    "bert_classifier": ["dataset.split={train: 500, val: 500, test: 1000, seed: null}", "trainer.max_epochs=10"]
}  # the others have both by default
STARTS: dict[str, list[str]] = {
    "random": [],
    "run": [],
    "lora": ['model.adapt=[{lora: {rank: 6, layers: ["*.attention", "*.feed_forward"]}}]', "optim.lr=0.003"],
    "bitfit": ["model.adapt=[bitfit]", "optim.lr=0.003"],
    "last_layer": ["model.adapt=[last_layer]", "optim.lr=0.003"],
}


def measured(task: str, start: str, run: str, seed: int) -> dict[str, Any]:
    """One row of the table."""
    encoder = open_run(run)[0]["model"]["network"]["encoder"]
    sizes = [f"model.network.encoder.{name}={encoder[name]}" for name in ("width", "heads", "layers", "positions")]
    overrides = [f"model={task}", f"seed={seed}", *sizes, *ROWS.get(task, []), *STARTS[start]]
    if start != "random":
        overrides.append(f"model.init_from={run}")
    seed_everything(seed)
    learner, data, seconds = trained(*overrides)
    weights = sum(parameter.numel() for parameter in learner.task.parameters() if parameter.requires_grad)
    return {
        "task": task, "start": start, "seed": seed, "metric": TASKS[task], "value": round(learner.evaluate(data, "test").metrics[TASKS[task]], 4),
        "trained": weights, "parameters": learner.training.parameters, "state_bytes": 3 * 4 * weights, "fit_seconds": round(seconds, 1),
    }  # fmt: skip


def main(argv: list[str]) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fine_tuning", description=__doc__)
    parser.add_argument("runs", nargs="+", help="runs of bert_pretrain, each of another seed")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=["random", "run"])
    parser.add_argument("--output", type=Path, help="CSV file; its rows are kept and continued")
    arguments = parser.parse_args(argv)
    for run in arguments.runs:
        seed = open_run(run)[0]["seed"]
        for task in arguments.tasks:
            for start in arguments.starts:
                report(measured(task, start, run, seed), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
