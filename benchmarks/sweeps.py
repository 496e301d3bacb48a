"""Measures sweeps: what a job's start costs, how well two slots are used, and whether a search beats chance.

    python -m benchmarks.sweeps start     # jobs of a second: pool, Hydra's basic and joblib launchers, a process per job
    python -m benchmarks.sweeps slots     # 12 real jobs on 2 slots against the sum of their own times
    python -m benchmarks.sweeps search    # Optuna with pruning against random search, 30 trials, 5 seeds
    python -m benchmarks.sweeps killed    # a search of 30 trials is killed after 15 and started again

Each appends to benchmarks/sweeps.md. Numbers depend on what else the machine does: every comparison is made in one call.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPORT = Path(__file__).with_suffix(".md")
TASK = """
import time
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    end = time.monotonic() + {seconds}
    {work}
    return 0.0

main()
"""
SLEEP = "time.sleep(max(0.0, end - time.monotonic()))"


def say(text: str) -> None:
    print(text, flush=True)
    with open(REPORT, "a", encoding="utf-8") as file:
        file.write(text + "\n")


def run(command: list[str], directory: Path, check: bool = True, **environment) -> float:
    """Seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "", **environment},
    )
    if check and done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return time.perf_counter() - start


def start(jobs: int = 64, seconds: float = 1.0) -> None:
    """Start overhead per job: (wall x slots - jobs x seconds) / jobs, with imports of torch, lightning and mlflow as a job of ours needs.

    The jobs sleep, so that two slots are two slots on any machine.
    """
    imports = "import torch, lightning.pytorch, mlflow.tracking"
    say(f"\n## Start of a job: {jobs} jobs of {seconds:g} s on 2 slots that import torch, lightning and mlflow\n")
    say("| launcher | wall s | overhead per job s | without one import of the packages s |")
    say("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "task.py").write_text(TASK.format(seconds=seconds, work=f"{imports}\n    {SLEEP}"))
        one_import = run([sys.executable, "-c", imports], directory)
        cases = {
            "pool": (
                [
                    "hydra/launcher=mlrun_pool",
                    "hydra.launcher.slots=2",
                    "hydra.launcher.preload=[torch,lightning.pytorch,mlflow.tracking]",
                ],
                2,
            )
        }
        cases["hydra basic (in one process, one after the other)"] = ([], 1)
        try:
            import hydra_plugins.hydra_joblib_launcher  # noqa: F401

            cases["hydra joblib"] = (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], 2)
        except ImportError:
            say("| hydra joblib | not installed | | |")
        for name, (options, slots) in cases.items():
            wall = run([sys.executable, "task.py", "-m", f"+a=range({jobs})", *options], directory)
            row(name, wall, slots, jobs, seconds, one_import)
        few = min(jobs, 8)
        begin = time.perf_counter()
        waiting = list(range(few))
        running: list[subprocess.Popen] = []
        while waiting or running:
            running = [process for process in running if process.poll() is None]
            while waiting and len(running) < 2:
                running.append(subprocess.Popen([sys.executable, "task.py", f"+a={waiting.pop()}"], cwd=directory))
            time.sleep(0.01)
        row(f"a process per job ({few} jobs)", time.perf_counter() - begin, 2, few, seconds, 0.0)


def row(name: str, wall: float, slots: int, jobs: int, seconds: float, one_import: float) -> None:
    overhead = (wall * slots - jobs * seconds) / jobs
    net = ((wall - one_import) * slots - jobs * seconds) / jobs
    say(f"| {name} | {wall:.2f} | {overhead:.3f} | {net:.3f} |")


def slots() -> None:
    """Wall time of 12 jobs on 2 slots against 1.25 x (their own times / 2) + one import."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        command = [
            sys.executable,
            "-m",
            "mlrun",
            "-m",
            "model=mlp,linear",
            "optim=sgd,adam",
            "seed=1,2,3",
            "hydra.sweep.dir=outputs/s",
        ]
        modules = (
            "mlrun.tracking.warm, mlrun.report.figures, lightning.pytorch, mlrun.training.learner, mlrun.experiment.run"
        )
        one_import = run([sys.executable, "-c", f"import {modules}"], directory)
        wall = run(command, directory)
        entries = {
            entry["number"]: entry
            for entry in map(json.loads, (directory / "outputs/s/jobs.jsonl").read_text().splitlines())
        }
        fit = sum(entry["result"]["seconds"]["fit"] for entry in entries.values())
        own = sum(sum(entry["result"]["seconds"].values()) for entry in entries.values())
    say("\n## Two slots: `mlrun -m model=mlp,linear optim=sgd,adam seed=1,2,3`\n")
    say(
        f"wall {wall:.1f} s; one import {one_import:.1f} s; the jobs' own fit {fit:.1f} s, all phases {own:.1f} s; load {os.getloadavg()[0]:.1f}"
    )
    say(
        f"(wall - import) / (fit / 2) = {(wall - one_import) / (fit / 2):.2f}; / (all phases / 2) = {(wall - one_import) / (own / 2):.2f}"
    )


def search(trials: int = 30, seeds: int = 5) -> None:
    """Best validation accuracy of the preset tune/mlp_digits by sampler."""
    say(f"\n## Search: experiment=tune/mlp_digits, {trials} trials on 2 slots, {seeds} seeds of the sampler\n")
    say("| sampler | best of each seed | median | pruned | seconds |")
    say("| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        results: dict[str, tuple] = {name: ([], [], []) for name in ("tpe, median pruner", "random")}
        for seed in range(seeds):
            for name, (bests, pruned, took) in results.items():
                out = f"outputs/{name[:3]}{seed}"
                options = ["hydra.sweeper.sampler=random", "hydra.sweeper.pruner=none"] if name == "random" else []
                took.append(
                    run(
                        [sys.executable, "-m", "mlrun", "-m", "experiment=tune/mlp_digits", f"hydra.sweeper.n_trials={trials}",
                         f"hydra.sweeper.seed={seed}", f"hydra.sweep.dir={out}", *options], directory,
                    )
                )  # fmt: skip
                entries = {
                    entry["number"]: entry
                    for entry in map(json.loads, (directory / out / "jobs.jsonl").read_text().splitlines())
                }
                bests.append(max(entry["objective"] for entry in entries.values() if entry["state"] == "finished"))
                pruned.append(sum(entry["state"] == "pruned" for entry in entries.values()) / len(entries))
                print(name, seed, bests[-1], pruned[-1], took[-1], flush=True)
        for name, (bests, pruned, took) in results.items():
            each = " ".join(f"{best:.4f}" for best in bests)
            say(
                f"| {name} | {each} | {statistics.median(bests):.4f} | {statistics.mean(pruned):.0%} | {statistics.mean(took):.0f} |"
            )


def killed(trials: int = 30, after: int = 15) -> None:
    """kill -9 when `after` trials have ended, then `mlrun resume`: how many trials the study has at the end, and how they ended."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    def counts() -> str:
        storage = JournalStorage(JournalFileBackend(str(directory / "outputs/s/study.journal")))
        states = [trial.state.name.lower() for trial in optuna.load_study(study_name=None, storage=storage).trials]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    say(
        f"\n## A search of {trials} trials on 2 slots, killed with -9 after {after} and resumed: `mlrun -m experiment=tune/mlp_digits`\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        command = [
            sys.executable,
            "-m",
            "mlrun",
            "-m",
            "experiment=tune/mlp_digits",
            f"hydra.sweeper.n_trials={trials}",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}
        with subprocess.Popen(
            [*command, "hydra.sweep.dir=outputs/s", "hydra.launcher.slots=2"],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            for line in process.stdout:
                if line.startswith(f"[{after}/{trials}]"):
                    process.kill()
                    break
        time.sleep(2)
        say(f"killed: {counts()}")
        run([sys.executable, "-m", "mlrun", "resume", "outputs/s"], directory)
        entries = {
            entry["number"]: entry
            for entry in map(json.loads, (directory / "outputs/s/jobs.jsonl").read_text().splitlines())
        }
        ended = [entry["state"] for entry in entries.values()]
        say(f"resumed: {counts()} (failed are those that were cut off; each was tried again)")
        say("jobs: " + ", ".join(f"{ended.count(state)} {state}" for state in dict.fromkeys(ended)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("start", "slots", "search", "killed"))
    {"start": start, "slots": slots, "search": search, "killed": killed}[parser.parse_args().what]()
