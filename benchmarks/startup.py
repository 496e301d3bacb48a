"""Whole processes, from start to exit: a run against a script that imports the same libraries and trains the same model."""

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


def compare() -> "list[Row]":
    with tempfile.TemporaryDirectory() as folder:
        ours = process([sys.executable, "-m", "mlrun", "model=random_forest"], folder)
        peer = process([sys.executable, "-c", ESTIMATOR], folder)
        times = interleave(ours, peer, pairs=7)
    return [Row("random_forest on wine, start to exit", *times, limit=1.50, note="peer: import of sklearn and mlflow, and the fit")]


def process(command: "list[str]", folder: str):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}

    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start

    return seconds
