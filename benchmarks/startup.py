"""Whole processes, from start to exit: a run against a script that imports the same libraries and trains the same model."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from benchmarks.comparison import Row, interleave

MLRUN = [sys.executable, "-m", "mlrun"]
ESTIMATOR = """
import mlflow
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

x, y = load_wine(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, stratify=y, random_state=1)
print(RandomForestClassifier(random_state=1).fit(x_train, y_train).score(x_test, y_test))
"""

NETWORK = """
import lightning
import mlflow
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

mlflow.set_tracking_uri("sqlite:///mlflow.db")
torch.manual_seed(1)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x_train, x_rest, y_train, y_rest = train_test_split(x, y, train_size=0.6, stratify=y, random_state=1)
x_val, x_test, y_val, y_test = train_test_split(x_rest, y_rest, train_size=0.5, stratify=y_rest, random_state=1)
scaled = lambda x: torch.from_numpy((x - x_train.mean()) / x_train.std()).float()
part = lambda x, y: TensorDataset(scaled(x), torch.from_numpy(y))
train, val, test = DataLoader(part(x_train, y_train), 32, shuffle=True), DataLoader(part(x_val, y_val), 32), DataLoader(part(x_test, y_test), 32)
network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

@torch.inference_mode()
def measure(batches):
    network.eval()
    loss, correct, count = 0.0, 0, 0
    for x, y in batches:
        scores = network(x)
        loss, correct, count = loss + criterion(scores, y).item() * len(y), correct + (scores.argmax(1) == y).sum().item(), count + len(y)
    return loss / count, correct / count

for epoch in range(20):
    network.train()
    for x, y in train:
        optimizer.zero_grad()
        loss = criterion(network(x), y)
        loss.backward()
        optimizer.step()
    val_loss, val_accuracy = measure(val)
test_loss, test_accuracy = measure(test)
with mlflow.start_run():
    mlflow.log_metrics({"train/loss": loss.item(), "val/loss": val_loss, "val/accuracy": val_accuracy, "test/log_loss": test_loss, "test/accuracy": test_accuracy})
"""


FIRST_EPOCH = 0.5  # seconds


def compare(*names: str) -> list[Row]:
    cases = {"estimator": estimator, "network": network, "warm": warm}
    return [row for name in names or cases for row in cases[name]()]


def estimator() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = (
            process([*MLRUN, "model=random_forest"], folder),
            process([sys.executable, "-c", ESTIMATOR], folder),
        )
        seconds = interleave(ours, peer, pairs=7)
    note = "peer: import of sklearn and mlflow, and the fit"
    return [Row("random_forest on wine, start to exit", *seconds, limit=1.20, note=note)]


def network() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        seconds = interleave(process(MLRUN, folder), process([sys.executable, "-c", NETWORK], folder), pairs=7)
    note = "peer: imports torch, lightning, mlflow; logs the same metrics once"
    return [Row("default run (mlp on digits), start to exit", *seconds, limit=0.75, note=note)]


def warm() -> list[Row]:
    """The default run through `mlrun warm`: to the end of the first epoch, and to the exit against one without it."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as runtime:
        environment = {"XDG_RUNTIME_DIR": runtime, "MLRUN_WARM": "1"}
        subprocess.run([*MLRUN, "warm"], env=_environment(environment), check=True, stdout=subprocess.DEVNULL)
        try:
            first = [until("epoch 1/", folder, environment) for _ in range(6)][1:]
            served, alone = process(MLRUN, folder, environment), process(MLRUN, folder)
            whole = interleave(served, alone, pairs=3)
        finally:
            subprocess.run([*MLRUN, "warm", "--stop"], env=_environment(environment), stdout=subprocess.DEVNULL)
    return [
        Row(
            "default run through mlrun warm, Enter to first epoch",
            first,
            [FIRST_EPOCH] * len(first),
            1.0,
            "peer: the limit",
        ),
        Row("default run through mlrun warm, start to exit", *whole, limit=1.0, note="peer: the same without it"),
    ]


def until(text: str, folder: str, environment: dict[str, str]) -> float:
    """Seconds until the default run prints a line with this text."""
    start = time.perf_counter()
    with subprocess.Popen(
        MLRUN, cwd=folder, env=_environment(environment), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        while text not in run.stdout.readline():
            pass
        seconds = time.perf_counter() - start
        run.communicate()
    return seconds


def _environment(more: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "MLRUN_WARM": "0", **more}


def process(command: list[str], folder: str, environment: dict[str, str] | None = None):
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=_environment(environment or {}), check=True, capture_output=True)
        return time.perf_counter() - start

    return seconds
