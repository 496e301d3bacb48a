"""kill -9 at random moments, then `mlrun resume`: do runs end with the weights of one that was never killed?

    python -m benchmarks.kills [kills per family, 20] [family ...]

Each run is a process of its own, killed at a moment drawn uniformly from the time between its first line and the end of an unbroken run.
Compared are the stored models and the last checkpoints' weights, optimizers and schedules (bit for bit), the final metrics and every
metric point in MLflow, but for times. The family "first start" kills commands within two seconds of their start in an empty directory,
without a cached database; the directory must take the next command, `resume=auto`, which must give the same metrics.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FAMILIES = {
    "table": ["model=mlp", "trainer.max_epochs=60"],
    "table, one-cycle schedule": [
        "model=mlp", "dataset=wine", "model.network.hidden=[32,32]", "model.network.dropout=0.3", "optim=momentum", "optim.lr=0.02",
        "scheduler=one_cycle", "scheduler.interval=step", "trainer.max_epochs=150", "dataset.batch_size=8",
    ],
    "image": ["model=lenet", "augment=crop_flip", "trainer.max_epochs=8"],
    "language model": [
        "model=gpt", "model.network.width=16", "model.network.layers=1", "model.network.dropout=0.1", "dataset.context_length=16",
        "dataset.steps_per_epoch=30", "trainer.max_epochs=8", "dataset.split.train=0.05", "dataset.split.val=2000", "dataset.split.test=2000",
    ],
    "generative": ["model=gan", "dataset.rows=1000", "trainer.max_epochs=12"],
    "agent": [
        "model=dqn", "model.network.hidden=[32]", "model.steps_per_epoch=512", "model.steps_per_round=128", "model.target_period=128",
        "model.updates_per_round=16", "model.learning_starts=256", "trainer.max_epochs=12", "dataset.val_episodes=4", "dataset.test_episodes=4",
    ],
    "k-fold": ["model=mlp", "dataset=iris", "trainer=kfold", "trainer.folds=3", "trainer.max_epochs=40", "model.network.dropout=0.2"],
}  # fmt: skip
TIMES = ("wall/", "train/steps_per_second", "predict_ms")  # metrics that no two runs share
ROOT = Path(__file__).resolve().parent.parent
FIRST_START = "first start"
ESTIMATOR = ["model=naive_bayes", "dataset=iris", "resume=auto"]


def main(kills: int, *names: str) -> int:
    home, wrong = Path.cwd(), 0
    for name in names or [*FAMILIES, FIRST_START]:
        os.chdir(tempfile.mkdtemp(dir=home))
        wrong += first_starts(kills) if name == FIRST_START else resumed_runs(name, kills)
        os.chdir(home)
    return 1 if wrong else 0


def resumed_runs(name: str, kills: int) -> int:
    """How many of the runs of a family that were killed and resumed differ from the unbroken one."""
    from mlrun.config.compose import compose
    from mlrun.experiment.resuming import find, resume_run
    from mlrun.experiment.run import run
    from mlrun.warm.modules import COMMON, LATE, preload

    preload((*COMMON, *LATE, "mlrun.training.learner"))  # otherwise most kills would hit imports
    chance, options = random.Random(name), FAMILIES[name]
    cfg = compose(options)
    begin = lambda directory: run(cfg, directory, options) and 0
    process = _child(lambda: begin("whole"))
    _wait_for(Path("whole/run.json"))
    started = time.monotonic()
    assert _wait(process) == 0, Path("log.txt").read_text()
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
    print(
        f"{name}: killed {kills} times, after epochs {sorted(during)}: {equal} of {kills} equal to the unbroken run",
        flush=True,
    )
    return kills - equal


def first_starts(kills: int) -> int:
    """How many directories cannot be used, or give other metrics, after a command was killed there within two seconds."""
    chance, wrong, metrics, begun = random.Random(0), 0, [], 0
    for number in range(kills):
        directory = Path(f"start{number}").absolute()
        directory.mkdir()
        command = [sys.executable, "-m", "mlrun", *ESTIMATOR]
        environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache"), "PYTHONPATH": str(ROOT)}
        options = {"cwd": directory, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        first = subprocess.Popen(command, **options)
        time.sleep(chance.uniform(0, 2) if number % 2 else chance.uniform(1, 4))  # slow machines begin later
        first.kill()
        first.wait()
        begun += (directory / "mlflow.db").exists() or any(directory.glob("mlflow.db.*"))
        status = subprocess.run(command, **options).returncode
        (found, *more) = sorted(directory.glob("outputs/*/metrics.json")) or [None]
        usable = status == 0 and found is not None and not more
        usable = usable and subprocess.run([*command[:3], "leaderboard"], **options).returncode == 0
        metrics += [found.read_text()] if found else []
        if not usable or metrics[-1] != metrics[0]:
            wrong += 1
            print(f"{directory}: exit status {status}")
    print(
        f"{FIRST_START}: killed {kills} times, {begun} with a database begun: {kills - wrong} of {kills} directories usable"
    )
    return wrong


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

    checkpoints = directory.rglob("last.ckpt")
    return sum(torch.load(last, weights_only=True)["mlrun"]["epochs"] for last in checkpoints)


def _same(one: Path, other: Path) -> bool:
    metrics = [json.loads((directory / "metrics.json").read_text()) for directory in (one, other)]
    for found in metrics:
        found.pop("train/steps_per_second", None)
    return _equal(_learned(one), _learned(other)) and metrics[0] == metrics[1] and _points(one) == _points(other)


def _learned(directory: Path) -> list:
    import torch

    from mlrun.data.readers.tensors import WEIGHTS, load_tensors

    found: list = [load_tensors(path) for path in sorted(directory.rglob(WEIGHTS))]
    for path in sorted(directory.rglob("last.ckpt")):
        last = torch.load(path, weights_only=True)
        found += [last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")]
    return found


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
    rows = []
    with sqlite3.connect("mlflow.db") as database:
        for record in directory.rglob("run.json"):
            run_id = json.loads(record.read_text())["run_id"]
            rows += database.execute("select key, step, value from metrics where run_uuid = ?", (run_id,)).fetchall()
    return sorted(row for row in rows if not row[0].startswith(TIMES))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, *sys.argv[2:]))
