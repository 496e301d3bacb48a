"""kill -9 at random moments, then `mlrun resume`: do runs end with the weights of one that was never killed?

    python -m benchmarks.kills [kills per network, 20]

Each run is a process of its own, killed at a moment drawn uniformly from the time between its first line and the end of an unbroken run.
Compared are the stored model and the last checkpoint's weights, optimizer and schedule (bit for bit), the final metrics and every metric
point in MLflow, but for times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = {
    "mlp": ["model=mlp", "trainer.max_epochs=60"],
    "mlp with dropout, momentum and one-cycle schedule": [
        "model=mlp", "dataset=wine", "model.network.hidden=[32,32]", "model.network.dropout=0.3", "optim=momentum", "optim.lr=0.02",
        "scheduler=one_cycle", "scheduler.interval=step", "trainer.max_epochs=150", "dataset.batch_size=8",
    ],
}  # fmt: skip


def main(kills: int) -> int:
    from mlrun.config.compose import compose
    from mlrun.experiment.resuming import find, resume_run
    from mlrun.experiment.run import run

    home, wrong = Path.cwd(), 0
    chance = random.Random(0)
    for name, options in NETWORKS.items():
        os.chdir(tempfile.mkdtemp(dir=home))
        cfg = compose(options)
        begin = lambda directory: run(cfg, directory, options) and 0
        process = _child(lambda: begin("whole"))
        _wait_for(Path("whole/run.json"))
        started = time.monotonic()
        assert _wait(process) == 0
        whole = time.monotonic() - started
        equal, killed, early, during = 0, 0, 0, []
        while killed < kills:
            directory = f"run{killed + early}"
            process = _child(lambda: begin(directory))
            _wait_for(Path(directory) / "run.json")
            time.sleep(chance.uniform(0, whole))
            os.kill(process, signal.SIGKILL)
            if _wait(process) != -signal.SIGKILL:  # it was over already
                early += 1
                continue
            killed += 1
            during.append(_epochs_done(Path(directory)))
            status = _wait(_child(lambda: resume_run(find(directory), [])))
            same = status == 0 and _same(Path("whole"), Path(directory))
            equal += same
            if not same:
                print(f"{os.getcwd()}/{directory} differs (exit status {status})")
        wrong += kills - equal
        print(
            f"{name}: killed {kills} times, after epochs {sorted(during)}: {equal} of {kills} equal to the unbroken run",
            flush=True,
        )
        os.chdir(home)
    return 1 if wrong else 0


def _child(work) -> int:
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = work()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.002)


def _wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _epochs_done(directory: Path) -> int:
    import torch

    last = directory / "checkpoints" / "last.ckpt"
    return torch.load(last, weights_only=True)["mlrun"]["epochs"] if last.exists() else 0


def _same(one: Path, other: Path) -> bool:
    metrics = [json.loads((directory / "metrics.json").read_text()) for directory in (one, other)]
    return _equal(_learned(one), _learned(other)) and metrics[0] == metrics[1] and _points(one) == _points(other)


def _learned(directory: Path) -> list:
    import torch

    from mlrun.data.readers.tensors import load_tensors

    last = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    return [
        load_tensors(directory / "model" / "weights.safetensors"),
        *(last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")),
    ]


def _equal(one, other) -> bool:
    import torch

    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def _points(directory: Path) -> list:
    run_id = json.loads((directory / "run.json").read_text())["run_id"]
    with sqlite3.connect("mlflow.db") as database:
        rows = database.execute("select key, step, value from metrics where run_uuid = ?", (run_id,)).fetchall()
    return sorted(row for row in rows if not row[0].startswith("seconds/") and row[0] != "predict_ms")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
