"""The largest memory of a whole process tree: mlp on Fashion-MNIST through mlrun, against a plain script on the same data.

Counted is the proportional set size: a page that several processes share counts once. Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.comparison import Row, interleave

PLAIN = """
import gzip, sys
from pathlib import Path

import lightning
import mlflow
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def read(name, skip):
    path = next(path for path in (folder / name, folder / f"{name}.gz") if path.is_file())
    return np.frombuffer((gzip.open if path.suffix else open)(path, "rb").read(), np.uint8, offset=skip)

folder = Path(sys.argv[1])
x = torch.from_numpy(read("train-images-idx3-ubyte", 16).copy()).view(-1, 784).float().div_(255)
y = torch.from_numpy(read("train-labels-idx1-ubyte", 8).astype(np.int64))
x_test = torch.from_numpy(read("t10k-images-idx3-ubyte", 16).copy()).view(-1, 784).float().div_(255)
y_test = torch.from_numpy(read("t10k-labels-idx1-ubyte", 8).astype(np.int64))
mlflow.set_tracking_uri("sqlite:///mlflow.db")
torch.set_num_threads(1)
train, val = DataLoader(TensorDataset(x[:54000], y[:54000]), 64, shuffle=True), DataLoader(TensorDataset(x[54000:], y[54000:]), 64)
test = DataLoader(TensorDataset(x_test, y_test), 64)
network = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(network.parameters())
for epoch in range(2):
    for images, classes in train:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), classes).backward()
        optimizer.step()
with torch.inference_mode():
    val, test = (sum((network(images).argmax(1) == classes).sum().item() for images, classes in part) for part in (val, test))
with mlflow.start_run():
    mlflow.log_metrics({"val/accuracy": val / 6000, "test/accuracy": test / 10000})
"""


def compare() -> list[Row]:
    from mlrun.data.readers.download import data_directory

    data = data_directory()
    with tempfile.TemporaryDirectory() as folder:
        ours = [
            sys.executable,
            "-m",
            "mlrun",
            "model=mlp",
            "dataset=fashion_mnist",
            "trainer.max_epochs=2",
            "trainer=cpu",
            f"data_dir={data}",
        ]
        plain = [sys.executable, "-c", PLAIN, str(data / "fashion_mnist")]
        times = interleave(lambda: peak_gib(ours, folder), lambda: peak_gib(plain, folder), pairs=3)
    return [
        Row(
            "memory of mlp on Fashion-MNIST, GiB",
            *times,
            limit=1.20,
            note="peer: imports torch, lightning, mlflow; data as float tensors",
        )
    ]


def peak_gib(command: list[str], folder: str) -> float:
    """The largest sum over the process and its children, seen every 50 ms."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    child, peak = (
        subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
        0,
    )
    while child.poll() is None:
        peak = max(peak, sum(map(_proportional_kib, _tree(child.pid))))
        time.sleep(0.05)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed: {child.returncode}")
    return peak / 2**20


def _tree(pid: int) -> list[int]:
    try:
        children = [
            int(found)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for found in (task / "children").read_text().split()
        ]
    except OSError:  # it has just ended
        return []
    return [pid, *(one for found in children for one in _tree(found))]


def _proportional_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
