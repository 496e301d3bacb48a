"""Measures sweeps that one machine cannot hold.

    python -m benchmarks.cluster simulation       # the driver with 100,000 jobs on 1,000 slots that exist only in its memory
    python -m benchmarks.cluster real             # 1,000 small jobs on 2 slots of this machine

Appends to benchmarks/cluster.md.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import io
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from omegaconf import OmegaConf
from rich.console import Console

from mlrun.sweep import job as states
from mlrun.sweep.display import Display, summary
from mlrun.sweep.executors.executor import Report
from mlrun.sweep.job import Configs, Job
from mlrun.sweep.journal import Journal, restore
from mlrun.sweep.queue import Queue
from mlrun.sweep.record import Record, write_table
from mlrun.sweep.server import Request
from mlrun.sweep.slots import Demand, Slots, cpu_slots
from mlrun.sweep.tally import Tally
from mlrun.tracking.run import NullRun

REPORT = Path(__file__).with_suffix(".md")
ROOT = Path(__file__).resolve().parent.parent
PHASES = ("data", "import", "fit", "evaluate", "report", "log")  # of a run
EPOCHS = 5


def say(text: str) -> None:
    print(text, flush=True)
    with open(REPORT, "a", encoding="utf-8") as file:
        file.write(text + "\n")


class ImaginaryExecutor:
    """An `Executor` whose jobs exist only as a list of the reports that they will send. Time passes when the queue waits."""

    ahead, gpus, hint, others = 0, 0, "", ()

    def __init__(self, slots: int, seed: int = 0):
        self.slots, self.random = Slots(cpu_slots(slots)), random.Random(seed)
        self.agenda: list[tuple[float, int, int, Report]] = []  # (time, order, attempt, report)
        self.now, self._sent = 0.0, 0

    @property
    def has_room(self) -> bool:
        return bool(self.slots.free)

    def place(self, job: Job) -> bool:
        taken = self.slots.take("cpu", job.demand.count)
        job.slots = tuple(taken or ())
        return taken is not None

    def release(self, job: Job) -> None:
        self.slots.release(job.slots)

    def start(self, job: Job, request: Callable[[], Request]) -> None:
        request()
        end = self.now
        self._send(end, job, "run", f"{self.random.getrandbits(128):032x}")
        self._send(end, job, "training", {"total_epochs": EPOCHS, "monitor": "val/accuracy", "mode": "max"})
        for epoch in range(1, EPOCHS + 1):
            end += self.random.uniform(5, 15)
            self._send(end, job, "epoch", (epoch, self.random.random()))
        metrics = {f"test/metric_{index}": self.random.random() for index in range(20)}
        result = {"monitor": "val/accuracy", "mode": "max", "metrics": metrics, "seconds": {"fit": end}, "run_id": None}
        self._send(end, job, "result", result)
        if self.random.random() < 0.01:
            self._send(end, job, "failed", "RuntimeError: one in a hundred fails")
            self._send(end, job, "exited", (states.FAILED, ""))
        else:
            self._send(end, job, "finished", {"value": self.random.random()})

    def _send(self, at: float, job: Job, kind: str, payload: object) -> None:
        self._sent += 1
        heapq.heappush(self.agenda, (at, self._sent, job.attempts, (kind, job.number, payload)))

    def receive(self, seconds: float) -> list[Report]:
        self.now += seconds
        found = []
        while self.agenda and self.agenda[0][0] <= self.now:
            found.append(heapq.heappop(self.agenda)[3])
        return found

    def prepare(self, job: Job, request: Callable[[], Request]) -> None:
        pass

    def signal(self, number: int, signum: int) -> None:
        raise AssertionError(signal.Signals(signum))


class Watch:
    """A listener that notes the time and the memory of the driver at every tenth of the jobs, and how large its table becomes."""

    def __init__(self, jobs: int, display: Display):
        self.every, self.count, self.display = jobs // 10, 0, display
        self.seconds, self.memory = [time.process_time()], [resident()]
        self.lines = 0

    def ended(self, job: Job) -> None:
        self.count += 1
        if self.count % self.every == 0:
            self.seconds.append(time.process_time())
            self.memory.append(resident())
            console = Console(file=io.StringIO(), width=120, height=40)
            console.print(self.display.table())
            self.lines = max(self.lines, console.file.getvalue().count("\n"))


def resident() -> int:
    """Bytes of memory that this process uses."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def many(jobs: int, directory: Path, configs: Configs) -> Iterator[Job]:
    """A grid of five settings."""
    config = OmegaConf.create({"hydra": {"job": {"num": 0}}})
    sizes = [("seed", 100), ("optim.lr", 50), ("model.network.width", 20), ("model", 10), ("dataset", jobs)]
    texts = {key: [f"{key}={value}" for value in range(size)] for key, size in sizes}
    for number in range(jobs):
        rest, overrides = number, []
        for key, size in sizes:
            rest, value = divmod(rest, size)
            overrides.append(texts[key][value])
        identity = f"{number:016x}"
        yield Job(number, overrides, configs, identity, directory, None, configs.add(config), Demand("cpu"))


def run(jobs: int, slots: int, directory: Path) -> tuple[Watch, Tally]:
    """A sweep as `mlrun.sweep.sweep.Sweep` runs it, without composition and with an MLflow that answers at once."""
    tally, journal, configs = Tally(), Journal(directory), Configs()
    journal.update(argv=[], run_id="parent")
    for job in many(jobs, directory, configs):
        tally.add(job)
    display = Display(tally, jobs, stream=io.StringIO())
    display.console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    with mock.patch("mlrun.sweep.record.Run", lambda *_, **__: NullRun()):
        record = Record("simulation", [], {}, journal, tally, directory)
    watch = Watch(jobs, display)
    queue = Queue(ImaginaryExecutor(slots), lambda job: Request(job.number, job.config, str(job.directory), []))
    with display:
        queue.listeners = [tally, Writes(journal), display, record, watch]
        queue.run(tally.jobs)
    return watch, tally


class Writes:
    """What `mlrun.sweep.sweep.Sweep` does at the events."""

    def __init__(self, journal: Journal):
        self.journal = journal

    def started(self, job: Job) -> None:
        self.journal.write(job)

    opened = started

    def ended(self, job: Job) -> None:
        self.journal.write(job)
        job.result = states.NO_RESULT


def simulation(jobs: int = 100_000, slots: int = 1_000) -> None:
    """The driver's time and memory per job, and how long its journal takes to load."""
    with tempfile.TemporaryDirectory() as folder:
        run(2_000, slots, Path(folder, "first"))  # what every sweep needs once
        before, directory = resident(), Path(folder, "sweep")
        watch, tally = run(jobs, slots, directory)
        say(f"\n## Simulation: {jobs:,} jobs on {slots:,} slots that exist only in the driver's memory\n")
        say("| jobs ended | driver's CPU time per job, ms | resident memory, MiB |")
        say("| ---: | ---: | ---: |")
        for tenth in range(1, 11):
            spent = watch.seconds[tenth] - watch.seconds[tenth - 1]
            say(f"| {tenth * watch.every:,} | {1e3 * spent / watch.every:.2f} | {watch.memory[tenth] / 2**20:.1f} |")
        say(
            f"\nMemory per job: {(watch.memory[-1] - before) / jobs:.0f} bytes. Lines of the live table at most: {watch.lines}."
        )
        say(f"States at the end: {tally.count_text}.")
        start = time.perf_counter()
        journal = Journal(directory)
        loaded = time.perf_counter() - start
        for job in many(jobs, directory, Configs()):
            restore(job, journal.recall(job.identity))
        lines = sum(1 for _ in open(directory / "jobs.jsonl"))
        size = (directory / "jobs.jsonl").stat().st_size / 2**20
        say(
            f"Journal ({lines:,} lines, {size:.0f} MiB): loaded in {loaded:.1f} s, all jobs restored after {time.perf_counter() - start:.1f} s."
        )
        start = time.perf_counter()
        with redirect_stdout(io.StringIO()):
            write_table(tally.jobs, journal, directory / "sweep.csv")
            summary(tally, watch.display, journal, "", 0.0, None)
        say(f"Table of all jobs (sweep.csv) and summary: {time.perf_counter() - start:.1f} s.")


def real(jobs: int = 1_000, slots: int = 2) -> None:
    """Jobs that fit a naive Bayes classifier in a few milliseconds: what remains is the sweep, and MLflow."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "model=naive_bayes", "dataset=iris", f"seed=range({jobs})", f"hydra.launcher.slots={slots}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "mlrun", *command, "hydra.sweep.dir=sweep"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        wall, cpu = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        entries = list(Journal(Path(folder) / "sweep").entries())
    phases = {name: statistics.fmean(entry["result"]["seconds"][name] for entry in entries) for name in PHASES}
    elapsed = statistics.fmean(entry["elapsed"] for entry in entries)
    say(f"\n## {jobs:,} real jobs on {slots} slots: `mlrun {' '.join(command)}`\n")
    say(
        f"wall {wall:.0f} s, {1000 * wall * slots / jobs:.0f} ms of a slot per job; CPU time {cpu.ru_utime + cpu.ru_stime:.0f} s\n"
    )
    say("| of a job, mean | ms | share |\n| --- | ---: | ---: |")
    rest = {"elsewhere (before the data, between the phases)": elapsed - sum(phases.values())}
    between = {"between two jobs of a slot, start and end of the sweep": wall * slots / jobs - elapsed}
    for name, seconds in {**phases, **rest, **between}.items():
        what = "waiting for MLflow at the end" if name == "log" else name
        say(f"| {what} | {1000 * seconds:.0f} | {100 * seconds / (wall * slots / jobs):.0f}% |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("simulation", "real"))
    parser.add_argument("--jobs", type=int, help="default: 100,000 simulated or 1,000 real ones")
    arguments = parser.parse_args()
    {"simulation": simulation, "real": real}[arguments.what](*([arguments.jobs] if arguments.jobs else []))
