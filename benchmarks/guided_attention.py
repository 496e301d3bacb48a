"""`python -m benchmarks.guided_attention --seeds 1 2 3`: what guided attention changes where the alignment is diagonal.

A recurrent network with attention copies sequences of up to 25 numbers (`dataset=reverse` with reversed sources) with and without the loss that pulls attention to
the diagonal (Tachibana et al. 2018, arXiv:1710.08969). Per seed a line each: the share of the attention on validation pairs that lies within a tenth of the text's
length from the diagonal, the first epoch with an exact match of at least .9 on validation, and the exact match of the last epoch. One thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.in_process import trained
from benchmarks.rows import report

DATA = [
    "model=seq2seq_attention", "dataset=reverse", "dataset.rows=7000", "dataset.split={train: 5500, val: 500, test: 500}", "dataset.max_symbols=25",
    "dataset.reverse_source=true", "dataset.measure=exact_match", "dataset.batch_size=64", "optim.lr=0.003", "scheduler=none",
    "trainer.keep=last", "trainer.max_epochs=14",
]  # fmt: skip
NEAR, ENOUGH = 0.1, 0.9


def diagonal_share(learner: Any, data: Any) -> float:
    """Share of the attention of all heads that lies near the diagonal, on validation pairs."""
    near = total = 0.0
    network = learner.task.network.eval()
    for batch in data.loader("val", learner.preprocessor):
        source, target = batch["attention_mask"].bool(), batch["labels"] != 0
        with torch.no_grad():
            weights = network(batch["input_ids"], batch["decoder_input_ids"], with_attention=True)[1]
        places = [torch.arange(mask.shape[1]) / mask.sum(1, keepdim=True) for mask in (target, source)]
        is_near = (places[0][:, :, None] - places[1][:, None, :]).abs() <= NEAR
        counted = weights * (target[:, :, None] & source[:, None, :])[:, None]
        near, total = near + float((counted * is_near[:, None]).sum()), total + float(counted.sum())
    return near / total


def measured(seed: int, weight: float, overrides: list[str]) -> dict[str, Any]:
    """One row of the table."""
    learner, data, seconds = trained(*DATA, f"seed={seed}", f"model.guided_attention={weight}", *overrides)
    matches = learner.training.history["val/exact_match"]
    enough = next((epoch for epoch, value in matches if value >= ENOUGH), None)
    return {
        "guided_attention": weight, "seed": seed, "diagonal": round(diagonal_share(learner, data), 3), "epochs_to_.9": enough,
        "exact_match": matches[-1][1], "seconds": round(seconds),
    }  # fmt: skip


def main(argv: list[str]) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guided_attention", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="further settings")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 1.0])
    parser.add_argument("--output", type=Path, help="CSV file; its rows are kept and continued")
    arguments = parser.parse_args(argv)
    for seed in arguments.seeds:
        for weight in arguments.weights:
            report(measured(seed, weight, arguments.overrides), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
