"""The parent run of a sweep in MLflow, below which the runs of its jobs are nested."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlrun.config.overrides import as_command
from mlrun.config.passwords import masked
from mlrun.data.spreadsheet import safe_cell
from mlrun.experiment.state import RunState
from mlrun.report.numbers import duration, number
from mlrun.report.terminal import short_path
from mlrun.sweep import job as states
from mlrun.sweep.display import ranked, short_overrides
from mlrun.sweep.job import Job
from mlrun.sweep.journal import Journal
from mlrun.sweep.tally import Tally
from mlrun.tracking.directions import KIND, WALL
from mlrun.tracking.recorder import KEY
from mlrun.tracking.run import Run
from mlrun.tracking.run_directory import read_record

DESCRIBED = 20  # jobs in the description, at most


class Record:
    """Opens the parent run, or reopens that of a sweep that resumes. A listener of the pool.

    Args:
        experiment: name of the MLflow experiment.
        argv: the command line.
        grid: what is varied: key -> values.
        tally: of the sweep's jobs.
    """

    def __init__(
        self,
        experiment: str,
        argv: Sequence[str],
        grid: Mapping[str, Sequence[str]],
        journal: Journal,
        tally: Tally,
        directory: Path,
    ):
        self.tally, self.jobs, self.directory, self.journal = tally, tally.jobs, directory, journal
        self.command = masked(as_command(argv))
        varied = " ".join(f"{key}={','.join(values)}" for key, values in grid.items())
        tags = {KIND: "sweep", "command": self.command, "jobs": len(tally.jobs), "directory": directory}
        params = {f"grid.{_named(key)}": ",".join(values) for key, values in grid.items()}
        name = f"sweep {varied}"[:200].strip()
        self.state = RunState(directory)
        earlier = read_record(directory)
        self.earlier_status = {"RUNNING": "KILLED"}.get(status := earlier.get("status", "FAILED"), status)
        self.state.begin(None, earlier)
        tags[KEY] = self.state.key
        self.run = Run(
            experiment, name, tags, params, run_id=journal.sweep.get("run_id"), directory=directory,
            on_open=lambda run_id: self.state.update(run_id=run_id),
        )  # fmt: skip
        self.run_id: str | None = None
        self.refused: str | None = None  # what MLflow did not accept, once the run is closed

    @property
    def parent(self) -> str:
        """What the jobs' runs name as their parent: its id or, while MLflow does not answer, the directory of the sweep.

        Raises:
            UserError: MLflow refuses the run.
        """
        self.run_id = self.run.id_in_time
        return self.run_id or str(self.directory)

    def opened(self, job: Job) -> None:
        """Makes the recorder end the job's run if this process disappears."""
        if job.run_id:
            self.run.child(job.run_id)

    def ended(self, job: Job) -> None:
        """Ends the job's run if the job could not, and records the progress of the sweep."""
        status = {states.FINISHED: "FINISHED", states.FAILED: "FAILED"}.get(job.state, "KILLED")
        if job.run_id:
            self.run.end_child(job.run_id, status, job.reason)
        else:
            self.run.end_lost_child(job.directory, status, job.reason)
        counts = self.tally.counts
        values: dict[str, float] = {f"jobs/{state}": counts.get(state, 0) for state in states.ENDED}
        if job.state == states.FINISHED and job.objective is not None and job.monitor:
            values[job.monitor] = job.objective
            best = self.tally.best.get(job.monitor)
            if best is not None and best.objective is not None:
                values[f"best/{job.monitor}"] = best.objective
        # a job that is resumed ends once more, and a step has one value
        self.run.metrics(values, step=self.tally.attempts)

    def close(self, status: str, artifacts: Sequence[Path] = ()) -> None:
        """Writes the table and the figure, records the best job, and ends the parent run.

        Args:
            status: FINISHED, FAILED or KILLED.
            artifacts: more files for the parent run.
        """
        from mlrun.errors import UserError

        tags: dict[str, Any] = {"counts": self.tally.count_text, "jobs": len(self.jobs)}
        best = best_of(self.jobs)
        if best is not None:
            tags |= {
                "best.run_id": best.run_id,
                "best.overrides": " ".join(best.overrides),
                "best.metric": best.monitor,
            }
            tags |= {f"best.{_named(key)}": value for key, _, value in (text.partition("=") for text in best.overrides)}
        tags["mlflow.note.content"] = describe(self.command, self.tally.count_text, self.jobs, self.directory)
        self.run.tags(tags)
        write_table(self.jobs, self.journal, self.directory / "sweep.csv")
        self.run.artifact(self.directory / "sweep.csv")
        for path in artifacts:
            self.run.artifact(path, "figures" if path.suffix == ".png" else None)
        for path in draw(self.jobs, self.directory, self.command):
            self.run.artifact(path, "figures")
        self.refused = self.run.close(status)
        self.state.update(status=status)
        with suppress(UserError):
            self.run_id = self.run.id


def _named(key: str) -> str:
    """The key of an override as MLflow accepts it in a name: without `+` or `~`, and other characters replaced."""
    return re.sub(r"[^\w./: -]", "_", key.lstrip("+~"), flags=re.ASCII)


def recall_runs(jobs: list[Job], experiment: str, parent: str) -> None:
    """Finds the runs of jobs that died before they could report their run's id.

    Args:
        experiment: name of the MLflow experiment.
        parent: id of the parent run.
    """
    unknown = {str(job.directory): job for job in jobs if job.attempts and not job.run_id}
    if not unknown:
        return
    from mlrun.errors import UserError
    from mlrun.tracking.read import find_runs

    try:
        runs = find_runs(experiment)
    except UserError:
        return
    for run in runs:
        job = unknown.get(run.tags.get("directory", ""))
        if job is not None and run.tags.get("mlflow.parentRunId") == parent:
            job.run_id = run.run_id


def columns(job: Job, result: Mapping[str, Any]) -> dict[str, Any]:
    """A job as a flat row: its state, its overrides, its result."""
    row: dict[str, Any] = {"job": job.number, "state": job.state, "run_id": job.run_id or ""}
    row |= {key.lstrip("+"): value for key, _, value in (override.partition("=") for override in job.overrides)}
    row |= {"monitor": job.monitor, "objective": job.objective}
    row |= result.get("metrics") or {}
    row |= {f"{WALL}{phase}": round(seconds, 4) for phase, seconds in (result.get("seconds") or {}).items()}
    for name in ("parameters", "best_epoch"):
        row[name] = result.get(name)
    return row | {"elapsed": round(job.seconds, 3), "attempts": job.attempts, "reason": job.reason}


def write_table(jobs: list[Job], journal: Journal, path: Path) -> None:
    """Writes the jobs to a CSV file, the best first. One row at a time: the results of many jobs do not fit in memory."""
    best_first = ranked(jobs)

    def rows() -> Iterator[dict[str, Any]]:
        entries = journal.read(job.number for job in best_first)
        entry = next(entries, None)
        for job in best_first:
            known = entry is not None and entry["number"] == job.number
            yield columns(job, entry["result"] if known else {})
            entry = next(entries, None) if known else entry

    names = list(dict.fromkeys(name for row in rows() for name in row))
    last = ("elapsed", "attempts", "reason")
    names = [name for name in names if name not in last] + [name for name in last if name in names]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({name: safe_cell(value) for name, value in row.items()} for row in rows())


def describe(command: str, counts: str, jobs: Sequence[Job], directory: Path) -> str:
    """The description of a sweep on its MLflow page, in Markdown: the command, and the best jobs."""
    lines = [f"`{command}`", "", f"{len(jobs)} jobs: {counts}", ""]
    best = [job for job in ranked(jobs) if job.state == states.FINISHED and job.objective is not None][:DESCRIBED]
    if best:
        lines += [f"| job | settings | {best[0].monitor} | time |", "| ---: | --- | ---: | ---: |"]
    for job in best:
        value = number(job.objective) if job.monitor == best[0].monitor else f"{number(job.objective)} ({job.monitor})"
        settings = short_overrides(" ".join(job.overrides)).replace("|", "\\|")
        lines.append(f"| {job.number} | `{settings}` | {value} | {duration(job.seconds)} |")
    return "\n".join(
        [*lines, "", "- table of all jobs: Artifacts → sweep.csv", f"- directory: `{short_path(directory)}`"]
    )


def best_of(jobs: list[Job]) -> Job | None:
    """The best finished job within the limits; None if there is none yet."""
    done = (job for job in jobs if job.state == states.FINISHED and job.accepted and job.objective is not None)
    return min(done, key=lambda job: job.rank, default=None)


def draw(jobs: list[Job], directory: Path, command: str) -> list[Path]:
    """Plots the watched metric against each varied setting, above the command of the sweep. Returns the files; none if fewer than two jobs have a finite one."""
    done = [
        job
        for job in jobs
        if job.state == states.FINISHED and job.objective is not None and math.isfinite(job.objective)
    ]
    if len(done) < 2:
        return []
    from mlrun.report.figures import save
    from mlrun.sweep.figures import sweep_figure

    path = directory / "sweep.png"
    save(
        sweep_figure(
            [(job.monitor, job.objective) for job in done],
            [dict(o.partition("=")[::2] for o in job.overrides) for job in done],
            command,
        ),
        path,
    )
    return [path]
