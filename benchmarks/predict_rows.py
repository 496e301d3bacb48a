"""Ten million rows through `mlrun predict`: peak memory against that of a hundred thousand, speed against the bare network in a loop.

    python -m benchmarks.predict_rows [--rows 10000000] [--networks mlp,lenet] [--formats parquet,csv] [--directory DIR]

The rows are generated (digits of 64 columns, bytes with some noise), written as Parquet or CSV, and predicted by runs on digits (mlp: the
default, 64-256-10) in processes of their own, which also read, check and write files of that format; the bare loop has its float32 rows in
memory and does nothing but the forward pass, on all cores. It runs before the prediction and after it. A plain script that reads, calls the
network and writes, checking nothing, takes the first tenth of the rows (`--script-rows`). Generated files are kept for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

MEASURED = """
import resource, sys, time
from mlrun.cli import dispatch
from mlrun.predictions import writer as predictions
inner = predictions.predict_all
def timed(*arguments):
    start = time.perf_counter()
    counts = inner(*arguments)
    print("MEASURED", counts[0], time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return counts
predictions.predict_all = timed
dispatch(sys.argv[1:])
"""
# of the bare loop: on a CPU a convolution is faster on small batches, a dense layer on large ones
SMALL_BATCH, LARGE_BATCH = 256, 4096


def generated(folder: Path, rows: int, kind: str) -> Path:
    path = folder / f"rows_{rows}.{kind}"
    if not path.exists():
        generate(path, rows)
    return path


def generate(path: Path, rows: int, seed: int = 0) -> None:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    from mlrun.data.datasets.tables import read_bundled

    digits = read_bundled("digits")[0].astype(np.int64)
    generator = np.random.default_rng(seed)
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    schema = pyarrow.schema([(name, pyarrow.uint8()) for name in names])
    writer = (
        pyarrow.parquet.ParquetWriter(path, schema)
        if path.suffix == ".parquet"
        else pyarrow.csv.CSVWriter(path, schema)
    )
    with writer:
        for start in range(0, rows, 100_000):
            count = min(100_000, rows - start)
            x = np.clip(
                digits[generator.integers(0, len(digits), count)] + generator.integers(-1, 2, (count, 64)), 0, 16
            ).astype(np.uint8)
            writer.write_table(
                pyarrow.table([pyarrow.array(np.ascontiguousarray(column)) for column in x.T], schema=schema)
            )


def predict(run: Path, source: Path, output: Path) -> tuple[int, float, float]:
    """(rows, seconds, peak MiB) of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "predict", str(run), str(source), "--output", str(output)],
        capture_output=True,
        text=True,
        check=True,
    )
    _, rows, seconds, peak = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED")).split()
    return int(rows), float(seconds), float(peak)


def bare_loop(run: Path, rows: int) -> float:
    """Rows per second of the network alone, called on batches that lie in memory as it takes them, of whichever size is faster."""
    import torch

    from mlrun.experiment.stored import open_run

    learner = open_run(str(run))[1]
    network = learner.task.network.eval()
    shape = learner.transform(np.zeros((1, 1, 8, 8), np.float32)).shape[1:]
    x = torch.randn(LARGE_BATCH * 4, *shape)

    def speed(batch: int, rows: int) -> float:
        batches, done, start = x.split(batch), 0, time.perf_counter()
        while done < rows:
            for part in batches:
                network(part)
            done += len(x)
        return done / (time.perf_counter() - start)

    with torch.inference_mode():
        best = max((SMALL_BATCH, LARGE_BATCH), key=lambda batch: speed(batch, rows // 10))
        return speed(best, rows)


def plain_script(run: Path, source: Path, output: Path) -> float:
    """Seconds of a short script that does the same: reads batches, calls the network, writes class and probabilities."""
    import pandas
    import pyarrow
    import pyarrow.parquet
    import torch

    from mlrun.experiment.stored import open_run

    learner = open_run(str(run))[1]
    network, labels = learner.task.network.eval(), learner.labels
    start, row, writer = time.perf_counter(), 1, None
    parquet = source.suffix == ".parquet"
    if parquet:
        frames = (batch.to_pandas() for batch in pyarrow.parquet.ParquetFile(source).iter_batches(batch_size=32768))
    else:
        frames = pandas.read_csv(source, chunksize=32768)
    with torch.inference_mode(), open(output, "wb") as file:
        for frame in frames:
            x = learner.transform(frame.to_numpy(np.float32).reshape(-1, 1, 8, 8))
            shares = torch.cat([network(batch).softmax(1) for batch in torch.from_numpy(x).split(SMALL_BATCH)]).numpy()
            answers = pandas.DataFrame(shares, columns=[f"probability_{label}" for label in labels])
            answers.insert(0, "prediction", labels[shares.argmax(1)])
            answers.insert(0, "row", np.arange(row, row + len(frame)))
            row += len(frame)
            if parquet:
                table = pyarrow.Table.from_pandas(answers, preserve_index=False)
                writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema)
                writer.write_table(table)
            else:
                answers.to_csv(file, index=False, header=row == len(frame) + 1)
        if writer:
            writer.close()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--script-rows", type=int, default=1_000_000)
    parser.add_argument("--formats", default="parquet,csv")
    parser.add_argument("--networks", default="mlp,lenet")
    parser.add_argument("--directory", type=Path, default=Path("outputs/predict_rows"))
    arguments = parser.parse_args()
    folder = arguments.directory.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks.split(","):
        run = folder / name
        if not run.is_dir():
            options = [f"model={name}", "dataset=digits", f"hydra.run.dir={run}"]
            subprocess.run([sys.executable, "-m", "mlrun", *options], cwd=folder, check=True, capture_output=True)
        for kind in arguments.formats.split(","):
            peaks = []
            script = plain_script(run, generated(folder, arguments.script_rows, kind), folder / f"script.{kind}")
            for rows in (100_000, arguments.rows):
                source = generated(folder, rows, kind)
                before = bare_loop(run, min(rows, 1_000_000))
                answered, seconds, peak = predict(run, source, folder / f"answers.{kind}")
                after = bare_loop(run, min(rows, 1_000_000))
                peaks.append(peak)
                bare = (before + after) / 2
                measured = {
                    "network": name, "format": kind, "rows": answered, "seconds": round(seconds, 1), "rows_per_second": round(answered / seconds),
                    "bare_rows_per_second": round(bare), "ratio": round(answered / seconds / bare, 2), "peak_mib": round(peak),
                    "script_rows_per_second": round(arguments.script_rows / script), "grown_mib": round(peak - peaks[0]), "cores": len(os.sched_getaffinity(0)),
                }  # fmt: skip
                print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
