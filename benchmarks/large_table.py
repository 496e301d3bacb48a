"""A table larger than memory: 20 million rows of 64 float32 columns, 5 GB, through an epoch of an MLP and through an estimator. The peak of resident memory,
and the throughput against the same network on as many of the rows as fit in memory.

The file is made in TMPDIR and removed afterwards. `python -m benchmarks.large_table ROWS` prints one measurement at another size.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.comparison import Row
from benchmarks.training import apart, through_mlrun

ROWS, COLUMNS, GROUP = 20_000_000, 64, 65_536
IN_MEMORY = 300_000  # rows of the comparison of throughput
MEMORY = 1.5  # GiB
# about the multiplications of LeNet on 28 x 28 pixels
NETWORK = ("model=mlp", "model.network.hidden=[1024,320]", "optim.lr=0.001", "model.figures=[]")
MODELS = {
    "mlp": ("model=mlp", "model.network.hidden=[64]", "model.figures=[]"),
    "sgd": ("model=sgd", "model.figures=[]"),
    "lenet-sized": NETWORK,
}


def compare() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.parquet", Path(folder) / "small.parquet"
        write(large, ROWS)
        write(small, IN_MEMORY)
        rows = []
        for model in ("mlp", "sgd"):
            found = apart(__spec__.name, "large_table", model, large)
            note = f"resident at most; {found['seconds']:.0f} s, test accuracy {found['accuracy']:.3f}; peer: the limit"
            rows.append(
                Row(
                    f"memory of {model} on a table of {ROWS:,} rows x {COLUMNS}, GiB",
                    [found["gib"]],
                    [MEMORY],
                    1.0,
                    note,
                )
            )
        pairs = [
            [apart(__spec__.name, kind, "lenet-sized", small)["epoch"] for kind in ("large_table", "csv")]
            for _ in range(2)
        ]
        ours, peer = map(list, zip(*pairs))
        note = f"{IN_MEMORY:,} rows, batch 256; peer: dataset=csv, all rows in memory"
        rows.append(Row("epoch of a LeNet-sized network on a table read block by block", ours, peer, 1 / 0.8, note))
        return rows


def write(path: Path, rows: int) -> None:
    """Random numbers whose first two columns decide the class."""
    import numpy as np
    import pyarrow
    from pyarrow import parquet

    random, writer = np.random.default_rng(0), None
    try:
        for start in range(0, rows, GROUP):
            count = min(GROUP, rows - start)
            values = random.standard_normal((COLUMNS, count), dtype=np.float32)
            columns: dict = {f"x{at}": column for at, column in enumerate(values)}
            columns["y"] = (values[0] + values[1] ** 2 > 0.7).astype(np.int8)
            table = pyarrow.table(columns)
            writer = writer or parquet.ParquetWriter(path, table.schema, compression="none", use_dictionary=False)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def one(kind: str, model: str, path: str) -> dict:
    """{seconds, epoch, gib, accuracy} of an epoch through mlrun."""
    import resource

    from mlrun.config.compose import compose

    epochs = 2 if model == "lenet-sized" else 1
    split = "dataset.split={train: 0.98, val: 0.01, test: 0.01}"
    overrides = [
        f"dataset={kind}", f"dataset.path={path}", "dataset.batch_size=256", split, *MODELS[model], f"trainer.max_epochs={epochs}",
        "trainer=cpu", "trainer.threads=1",
    ]  # fmt: skip
    if kind == "large_table" and model == "lenet-sized":
        overrides.append("dataset.resident_limit=1000000")
    clock = through_mlrun(compose(overrides), overrides)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    ends = getattr(clock, "ends", [0.0, 0.0])
    return {
        "seconds": sum(clock.result.seconds.values()), "epoch": ends[-1] - ends[-2], "gib": peak,
        "accuracy": clock.result.metrics["test/accuracy"],
    }  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 2:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.parquet"
            write(path, int(sys.argv[1]))
            print(f"{os.path.getsize(path) / 2**30:.2f} GiB")
            for name in ("mlp", "sgd"):
                print(name, one("large_table", name, str(path)))
    else:
        print(json.dumps(one(*sys.argv[1:])))
