"""Whole processes, from start to exit: a run against a script that imports the same libraries and trains the same model."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from benchmarks.comparison import Row, interleave

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


def compare() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        ours = process([sys.executable, "-m", "mlrun", "model=random_forest"], folder)
        peer = process([sys.executable, "-c", ESTIMATOR], folder)
        estimator = interleave(ours, peer, pairs=7)
        network = interleave(
            process([sys.executable, "-m", "mlrun"], folder), process([sys.executable, "-c", NETWORK], folder), pairs=7
        )
    return [
        Row(
            "random_forest on wine, start to exit",
            *estimator,
            limit=1.50,
            note="peer: import of sklearn and mlflow, and the fit",
        ),
        Row(
            "default run (mlp on digits), start to exit",
            *network,
            limit=1.40,
            note="peer: imports torch, lightning, mlflow; logs the same metrics once",
        ),
    ]


def process(command: list[str], folder: str):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}

    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start

    return seconds
