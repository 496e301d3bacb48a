"""Commands in a directory with 10,000 recorded runs: seconds until they answer on a terminal, including the start of the interpreter."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.comparison import Row

RUNS = 10_000
SECONDS = 1.0  # limit
MODELS = ("mlp", "linear", "lenet", "resnet", "gpt")
PAIRS = 5


def compare() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root)
        finished = f"{1:032x}"
        commands = {  # name: (arguments, the text that ends the measurement)
            "mlrun leaderboard": (("leaderboard",), b"\n"),
            "mlrun resume ID": (("resume", finished), b"\n"),
            "resume=auto, to reading the data": (("resume=auto", "model=naive_bayes", "dataset=iris"), b"the data"),
            "mlrun clean": (("clean",), b"\n"),
        }
        return [
            Row(
                f"{name} with {RUNS:,} runs", [seconds(root, *command) for _ in range(PAIRS + 1)][1:], [SECONDS] * PAIRS, 1.0,
                "peer: the limit",
            )
            for name, command in commands.items()
        ]  # fmt: skip


def seconds(folder: Path, words: tuple[str, ...], shown: bytes) -> float:
    """Until the command has shown a text on a terminal."""
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]), "MLRUN_WARM": "0",
        "TERM": "xterm",
    }  # fmt: skip
    environment.pop("MLFLOW_TRACKING_URI", None)
    ours, theirs = pty.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlrun", *words], cwd=folder, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        text = b""
        while shown not in text:
            text += terminal.read(1 << 16)
        answered = time.perf_counter() - start
        with suppress(OSError):  # as Linux tells the end of a terminal
            while terminal.read(1 << 16):
                pass
    process.wait()
    return answered


def fill(root: Path, runs: int = RUNS) -> None:
    """A database with runs of 63 parameters, 14 tags and 30 metrics each, and their directories."""
    from mlrun.tracking.store import open_client

    experiment = open_client(f"sqlite:///{root / 'mlflow.db'}").create_experiment("mlrun")
    with sqlite3.connect(root / "mlflow.db") as database:
        for number in range(runs):
            _add(database, root, number, experiment)
    database.close()


def _add(database: sqlite3.Connection, root: Path, number: int, experiment: str) -> None:
    run, model, seed = f"{number:032x}", MODELS[number % 5], number // 5 % 5
    status = "FINISHED" if number % 50 else "FAILED"
    directory = root / "outputs" / run
    database.execute(
        "insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, deleted_time, "
        "source_version, lifecycle_stage, artifact_uri, experiment_id) values (?, 'x', 'LOCAL', '', '', '', ?, ?, ?, null, '', 'active', '', ?)",
        (run, status, number, number + 1, experiment),
    )
    params = {
        "optim.lr": 10.0 ** -(number // 25 % 40), "seed": seed, "dataset.split.seed": seed, "model.network.hidden": f"[{number // 1000}]",
        "model.name": model, **{f"model.{model}.p{at}": at for at in range(20)}, **{f"trainer.key_{at}": at for at in range(19)},
        **{f"dataset.key_{at}": f"value {at}" for at in range(19)},
    }  # fmt: skip
    database.executemany(
        "insert into params (key, value, run_uuid) values (?, ?, ?)",
        [(key, str(value), run) for key, value in params.items()],
    )
    tags = {
        "model": model, "dataset": "digits", "monitor": "val/accuracy", "mode": "max", "parameters": "1234", "directory": str(directory),
        "problem": "classification", "command": "mlrun", "config_hash": f"{number:016x}", "mlrun.key": run[:16], "mlflow.user": "me",
        "mlflow.runName": "x", "mlflow.source.name": "mlrun", "mlrun.directions": json.dumps({"accuracy": "max", "log_loss": "min"}),
    }  # fmt: skip
    database.executemany(
        "insert into tags (key, value, run_uuid) values (?, ?, ?)", [(key, value, run) for key, value in tags.items()]
    )
    if status == "FINISHED":
        names = ("seconds/data", "seconds/import", "seconds/fit", "seconds/evaluate", "seconds/report")
        metrics = {
            "test/accuracy": 0.5 + number * 7919 % 1000 / 2000, **dict.fromkeys(names, 1.5),
            **{f"{part}/m{at}": 0.4 for part in ("best_val", "val", "test", "train") for at in range(6)},
        }  # fmt: skip
        database.executemany(
            "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values (?, ?, 0, 0, 0, ?)",
            [(key, value, run) for key, value in metrics.items()],
        )
    (directory / "config").mkdir(parents=True)
    (directory / "config" / "config.yaml").write_text("model: {name: x}\n")
    record = {"key": run[:16], "run_id": run, "status": status, "identity": f"{number:016x}", "cwd": str(root)}
    (directory / "run.json").write_text(json.dumps(record, indent=2))
