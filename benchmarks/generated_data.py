"""Do generated images help a classifier that has 20 labelled images per class? The generative models are trained on the same images.

    python -m benchmarks.generated_data --output FILE.csv [--seeds 1 2 3] [--generators conditional_gan ...] [--shares 1 ...]

Digits: 200 images for training (19 to 21 of each class), 100 for validation, 1,497 for test. Each seed has its own split, and its own generative
models of these 200 images, trained for as many updates as by default. The classifier is trained for the same number of updates in every row of the
table. "affine" is augment=affine: small rotations, scalings and shifts of the real images in place of generated ones.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from mlrun.config.compose import compose
from mlrun.experiment.run import run
from mlrun.report import silent

SPLIT = ["dataset.split={train: 200, val: 100, test: null}", "trainer.threads=1", "model.figures=[]"]
CLASSIFIER = [
    "trainer.keep=last",
    "scheduler=cosine",
    "scheduler.interval=step",
]  # a choice of the epoch by 100 rows would add noise
UPDATES = {
    "cnn": 600,
    "conditional_gan": 5100,
    "conditional_vae": 3400,
    "diffusion": 2380,
}  # of generative models: those of the default runs
GENERATORS = {  # name -> overrides; the GAN measures its samples after every epoch, the others need not
    "conditional_gan": [],
    "conditional_vae": ["model.evaluators=[]"],
    "diffusion": ["model.evaluators=[]"],
}
SHARES = (0.5, 1.0, 2.0)
HEADER = ("augment", "share", "seed", "accuracy", "log_loss", "seconds")


def measured(directory: Path, seed: int, model: str, *overrides: str) -> dict[str, float]:
    """The metrics on the test split of a run in this directory."""
    length = [f"trainer.{bound}_steps={UPDATES[model]}" for bound in ("min", "max")]
    given = [f"model={model}", *length, *overrides, *SPLIT, f"seed={seed}"]
    return run(compose(given), directory, given, report=silent).metrics


def settings(
    generators: Iterable[str], shares: Iterable[float], trained: dict[str, Path]
) -> dict[tuple[str, float], list[str]]:
    """(augmentation, share) -> overrides of the classifier. trained: runs of the generative models."""
    found = {("none", 0.0): [], ("affine", 0.0): ["augment=affine"]}
    for name in generators:
        source = f"augment.run={trained[name]}"
        for share in shares:
            found[name, share] = ["augment=generated", source, f"augment.share={share}"]
    return found


def table(rows: list[dict]) -> list[str]:
    """Means and standard deviations over the seeds, as a table in Markdown. The differences are from "none" with the same seed."""
    lines = [
        "| augmentation | generated per real image | test accuracy | difference | test log loss | difference |",
        "| --- | ---: " + 4 * "| ---: " + "|",
    ]
    for augment, share in dict.fromkeys((row["augment"], row["share"]) for row in rows):
        own = [row for row in rows if (row["augment"], row["share"]) == (augment, share)]
        cells = []
        for name in ("accuracy", "log_loss"):
            plain = {row["seed"]: row[name] for row in rows if row["augment"] == "none"}
            cells.append(spread([row[name] for row in own]))
            cells.append("" if augment == "none" else spread([row[name] - plain[row["seed"]] for row in own], "+"))
        lines.append(f"| {augment} | {share:g} | {' | '.join(cells)} |")
    return lines


def spread(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):{sign}.3f} ± {deviation:.3f}"


def main(argv: list[str]) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generated_data", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=list(GENERATORS))
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--output", type=Path, required=True, help="CSV file with a row per run")
    arguments = parser.parse_args(argv)
    output, rows = arguments.output.absolute(), []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in arguments.seeds:
            trained = {name: Path(folder, f"{name}_{seed}") for name in arguments.generators}
            for name, directory in trained.items():
                began = time.process_time()
                measured(directory, seed, name, *GENERATORS[name])
                print(f"seed {seed}: {name} trained, {time.process_time() - began:.0f} s of CPU", flush=True)
            for place, ((augment, share), own) in enumerate(
                settings(arguments.generators, arguments.shares, trained).items()
            ):
                began = time.process_time()
                metrics = measured(Path(folder, f"{seed}_{place}"), seed, "cnn", *CLASSIFIER, *own)
                rows.append(
                    {"augment": augment, "share": share, "seed": seed, "accuracy": metrics["test/accuracy"], "log_loss": metrics["test/log_loss"],
                     "seconds": round(time.process_time() - began, 1)}
                )  # fmt: skip
                print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
                with open(output, "w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, HEADER, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
