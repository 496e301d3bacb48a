"""A tracking server that dies during a sweep: does `mlrun sync` bring everything to it, once?

    python -m benchmarks.outages [moments, 10]
    MLRUN_TEST_DATABASE=postgresql+psycopg2://... python -m benchmarks.outages

A sweep of 8 jobs records to MLflow's own server, which is killed (SIGKILL) at moments spread over the length of an undisturbed sweep. The
exit status must be 0 exactly if everything was recorded. Then the server is started again, and `mlrun sync` runs. Afterwards the
parent and all jobs must be closed, and every metric point of every job must be stored once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.life.server import Server

ROOT = Path(__file__).resolve().parent.parent
SWEEP = ["-m", "model=mlp", "dataset=iris,wine", "seed=1,2,3,4", "trainer.max_epochs=5", "hydra.sweep.dir=sweep"]
EPOCHS, JOBS = 5, 8


def main(moments: int = 10) -> int:
    home, wrong = Path(tempfile.mkdtemp()), 0
    server = Server(home)
    server.start()
    began = time.monotonic()
    status = _mlrun(home / "whole", server, "whole").wait()
    seconds = time.monotonic() - began
    faults = _faults(server, home / "whole", "whole", status, unsent=[])
    print(f"undisturbed: {seconds:.0f} s, exit status {status} {faults}", flush=True)
    for number in range(moments):
        name, at = f"sweep{number}", seconds * (number + 0.5) / moments
        process = _mlrun(home / name, server, name)
        time.sleep(at)
        server.kill()
        status = process.wait()
        unsent = list((home / name).rglob("unsent.jsonl"))
        server.start()
        synced = _mlrun(home / name, server, name, "sync", "sweep").wait()
        faults = _faults(server, home / name, name, status, unsent) + ([f"sync ended with {synced}"] if synced else [])
        wrong += bool(faults)
        print(f"server killed after {at:.1f} s: exit status {status}, {len(unsent)} runs unsent {faults}", flush=True)
    server.kill()
    print(f"{moments - wrong} of {moments} sweeps complete after sync")
    return 1 if wrong else 0


def _mlrun(directory: Path, server: Server, experiment: str, *arguments: str) -> subprocess.Popen:
    directory.mkdir(exist_ok=True)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": server.uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }  # fmt: skip
    words = arguments or (*SWEEP, f"tracking.experiment={experiment}")
    with open(directory / "log.txt", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mlrun", *words], cwd=directory, env=environment, stdout=log, stderr=log
        )


def _faults(server: Server, directory: Path, experiment: str, status: int, unsent: list[Path]) -> list[str]:
    """What is wrong after the sync."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000) if found else []
    parents = [run for run in runs if run.data.tags.get("mlrun.kind") == "sweep"]
    jobs = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    faults = []
    if (status == 0) != (not unsent):
        faults.append(f"exit status {status} with {len(unsent)} runs unsent")
    if [run.info.status for run in parents] != ["FINISHED"]:
        faults.append(f"parents {[run.info.status for run in parents]}")
    if Counter(run.info.status for run in jobs) != {"FINISHED": JOBS}:
        faults.append(f"jobs {Counter(run.info.status for run in jobs)}")
    for run in jobs:
        for name in ("train/loss", "val/accuracy", "lr"):
            steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
            if sorted(steps) != list(range(1, EPOCHS + 1)):
                faults.append(f"{run.info.run_id}: {name} at {sorted(steps)}")
        wanted = json.loads((Path(run.data.tags["directory"]) / "metrics.json").read_text())
        if any(run.data.metrics.get(name) != value for name, value in wanted.items() if name.startswith("test/")):
            faults.append(f"{run.info.run_id}: other test metrics")
    if list(directory.rglob("unsent.jsonl")):
        faults.append("messages are left")
    return faults


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
