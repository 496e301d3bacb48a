"""The output of a sweep: a live table on a terminal, a line per event elsewhere, and a table at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mlrun.config.passwords import masked
from mlrun.report.console import new_console
from mlrun.report.numbers import clock, duration, number
from mlrun.report.tables import aligned, width_of, without_middle
from mlrun.sweep import job as states
from mlrun.sweep.job import Job
from mlrun.sweep.journal import Journal
from mlrun.sweep.tally import Tally
from mlrun.tracking.directions import without_part

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    from mlrun.sweep.queue import Queue

REDRAW = 0.25  # seconds
STYLES = {
    states.RUNNING: "cyan",
    states.FINISHED: "green",
    states.FAILED: "bold red",
    states.KILLED: "red",
    states.PRUNED: "yellow",
}
LIVE = ("job", "overrides", "slot", "state", "epoch", "metric", "elapsed", "left")  # columns of the live table
TEXT = ("overrides", "slot", "state")  # columns aligned to the left
OVERRIDES = "overrides"  # the column that is shortened where a table is too wide
OPTIONAL = ("slot", "left", "epoch")  # columns that a narrow terminal does without, the first one first
LEAST = 24  # columns that the overrides keep before others are left out
NOTHING = "(no overrides)"
MOST_FAILURES = 50  # that are listed at the end


class Display:
    """Shows the progress of a sweep. A listener of the queue.

    Args:
        tally: of the jobs.
        total: how many there will be; None if that is not known.
        common: overrides that all jobs share, which are not shown.
        stream: where to print; None: stdout.
    """

    def __init__(self, tally: Tally, total: int | None, common: Collection[str] = (), stream: TextIO | None = None):
        self.tally, self.total, self.common, self.stream = tally, total, set(common), stream
        self.console = new_console(stream)
        self.live: Live | None = None
        self._message = self._hint = ""
        self._start = time.monotonic()
        self._drawn, self._ended = 0.0, 0  # time of the last redraw; number of jobs that have ended

    def __enter__(self) -> Display:
        if self.console is not None:
            from rich.live import Live

            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, text: str) -> None:
        """Shows a line about the sweep as a whole."""
        self._message = text
        if self.live is None:
            self.print(text)
        else:
            self._draw()

    def hint(self, text: str) -> None:
        """Shows, on a terminal only, what happens before jobs run. An empty text removes it."""
        if self.live is not None:
            changed, self._hint = text != self._hint, text
            if changed:
                self._draw()

    def started(self, job: Job) -> None:
        if self.live is None:
            self.print(f"{self._head(job)} started on {_slots(job)}: {self.varied(job)}")

    def lost(self, job: Job) -> None:
        text = f"job {job.number} starts again: {job.reason}"
        if self.live is None:
            self.print(f"{self._head(job)} waiting: {job.reason}; it starts again")
        else:
            self.live.console.print(text)  # stays above the table

    def ended(self, job: Job) -> None:
        self._ended += 1
        if self.live is None:
            value = f"  {job.monitor} {number(job.objective)}" if job.objective is not None else ""
            log = "" if job.state == states.PRUNED else f"  (log: {_short(job.log)})"
            reason = f": {job.reason}{log}" if job.reason else ""
            self.print(f"{self._head(job)} {job.state} after {duration(job.seconds)}{value}{reason}")
        elif job.state in (states.FAILED, states.KILLED):
            from rich.text import Text

            text = Text.assemble(
                (f"job {job.number} {job.state}", STYLES[job.state]), f": {job.reason}\n  log: {_short(job.log)}"
            )
            self.live.console.print(text)  # stays above the table

    def tick(self, queue: Queue) -> None:
        self.hint(queue.executor.hint)
        if queue.interrupts and not self._message.startswith("stopping"):
            self.show("stopping: the jobs are closing their runs; Ctrl-C again kills them")
        if self.live is not None and time.monotonic() - self._drawn > REDRAW:
            self._draw()

    def varied(self, job: Job) -> str:
        """The overrides in which a job differs from others."""
        return " ".join(override for override in job.overrides if override not in self.common) or NOTHING

    def _head(self, job: Job) -> str:
        return f"[{self._ended + self.tally.earlier}/{self.total or '?'}] job {job.number}"

    def print(self, text: str) -> None:
        print(masked(text), file=self.stream, flush=True)

    def _draw(self) -> None:
        if self.live is not None:
            self.live.update(self.table(), refresh=True)
            self._drawn = time.monotonic()

    def table(self) -> Group:
        """The live table: what runs, what ended last, what comes next, and the counts."""
        from rich.console import Group
        from rich.text import Text

        room = max(3, (self.console.height if self.console else 25) - 6)
        running = list(islice(self.tally.running.values(), room))
        rest = list(self.tally.recent)
        shown = rest[max(0, len(rest) - (room - len(running))) :] + running
        shown += self.tally.waiting(room - len(shown))
        cells = [(self._cells(job), _style(job)) for job in shown]
        table = _fitting(LIVE, cells, self.console.width if self.console else 80, OPTIONAL)
        line = f"{self.tally.count_text}  {clock(time.monotonic() - self._start)}"
        hidden = len(self.tally.running) - len(running)
        line += f"  ({hidden} more running)" if hidden else ""
        remaining = self._remaining()
        if remaining is not None:
            line += f"  about {clock(remaining)} left"
        return Group(table, Text(line, style="bold"), Text(self._hint or self._message, style="dim"))

    def _cells(self, job: Job) -> tuple[str, ...]:
        """The row of a job, see LIVE."""
        epoch = f"{job.epoch}/{job.total_epochs}" if job.total_epochs else str(job.epoch or "")
        value = job.objective if job.objective is not None else job.watched
        left = job.remaining()
        return (
            str(job.number), self.varied(job), _slots(job), job.state, epoch, "" if value is None else number(value),
            clock(job.elapsed) if job.started else "", "" if left is None else clock(left),
        )  # fmt: skip

    def _remaining(self) -> float | None:
        """Seconds until the end, from the mean time of finished jobs and the slots in use; None if unknown."""
        tally, running = self.tally, self.tally.running.values()
        if not tally.finished_now or not running:
            return None
        mean = tally.finished_seconds / tally.finished_now
        waiting = tally.counts.get(states.WAITING, 0)
        return (waiting * mean + sum(max(0.0, mean - job.elapsed) for job in running)) / len(running)


def ranked(jobs: Sequence[Job]) -> list[Job]:
    """Best first, see `Job.rank`."""
    return sorted(jobs, key=lambda job: job.rank)


def summary(
    tally: Tally,
    display: Display,
    journal: Journal,
    resume: str,
    seconds: float,
    parent: str | None,
    shown: int = 20,
) -> None:
    """Prints the best jobs, counts, failures with their reasons, and the command that resumes.

    Args:
        journal: has the results of the jobs.
        resume: that command.
        seconds: the duration of the sweep.
        parent: MLflow run id of the sweep.
        shown: how many finished jobs.
    """
    jobs, directory = tally.jobs, journal.directory
    finished = [job for job in ranked(jobs) if job.state == states.FINISHED]
    failed = [job for job in jobs if job.state in (states.FAILED, states.KILLED)]
    rows: list[tuple[str, ...]] = []
    for rank, job in enumerate(finished[:shown], 1):
        metrics = journal.result(job).get("metrics") or {}
        rows.append(
            (
                str(rank) if job.accepted else "no",
                str(job.number),
                display.varied(job),
                _with_deviation(job, metrics),
                number(metrics.get(_test_name(job.monitor))),
                duration(job.seconds),
            )
        )
    monitors = sorted({job.monitor for job in finished if job.monitor})
    head: tuple[str, ...] = (
        "",
        "job",
        "overrides",
        " | ".join(monitors) or "value",
        " | ".join(map(_test_name, monitors)) or "test",
        "time",
    )
    if rows and all(row[4] == number(None) for row in rows):  # cross-validation has no test part
        head, rows = (*head[:4], head[5]), [(*row[:4], row[5]) for row in rows]
    if rows:
        _table(head, rows, display)
    if len(finished) > shown:
        display.print(f"... and {len(finished) - shown} more in {_short(directory)}/sweep.csv")
    for job in failed[:MOST_FAILURES]:
        display.print(f"{job.state}: job {job.number} ({display.varied(job)}): {job.reason}  log: {_short(job.log)}")
    if len(failed) > MOST_FAILURES:
        display.print(f"... and {len(failed) - MOST_FAILURES} more in {_short(directory)}/sweep.csv")
    display.print(f"sweep: {tally.count_text} in {duration(seconds)}")
    display.print(f"directory: {_short(directory)}" + (f"  MLflow run: {parent}" if parent else ""))
    if any(job.state not in (states.FINISHED, states.PRUNED) for job in jobs):
        display.print(f"resume: {resume}")


def _with_deviation(job: Job, metrics: Mapping[str, float]) -> str:
    """The watched metric, with its deviation over the folds of a cross-validation."""
    part, _, name = job.monitor.partition("/")
    deviation = metrics.get(f"cv_std/{name}") if part == "cv" else None
    return number(job.objective) + (f" ± {number(deviation, 2)}" if deviation is not None else "")


def _test_name(monitor: str) -> str:
    return f"test/{without_part(monitor)}" if monitor else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], display: Display) -> None:
    if display.console is not None:
        styled = [(row, "green" if row[0] == "1" else "") for row in rows]
        display.console.print(_fitting(head, styled, display.console.width, ("time",), len(OVERRIDES)))
        return
    for line in aligned([head, *rows], [name == OVERRIDES for name in head]):
        display.print(line)


def _fitting(
    head: Sequence[str],
    rows: Sequence[tuple[Sequence[str], str]],
    width: int,
    optional: Sequence[str] = (),
    least: int = LEAST,
) -> Table:
    """A table of at most `width` columns, in which only overrides are shortened.

    Args:
        rows: cells, and the style of the row.
        optional: columns that may be left out to give the overrides `least` columns, the first one first.
    """
    from rich.table import Table
    from rich.text import Text

    shown, gap = list(head), 2
    headings = {name: name for name in head}
    cells = {name: max((width_of(row[at]) for row, _ in rows), default=0) for at, name in enumerate(head)}
    wanted = max(cells.get(OVERRIDES, 0), len(OVERRIDES) if rows else 0)

    def left_over() -> int:
        widths = {name: max(cells[name], *map(width_of, headings[name].split("\n"))) for name in shown}
        return width - sum(widths[name] + gap for name in shown if name != OVERRIDES)

    for end, broken in ((" ", "\n"), ("/", "/\n")):  # headings break before columns are left out
        if left_over() < min(LEAST, wanted):
            headings = {name: heading.replace(end, broken) for name, heading in headings.items()}
    for name in optional:
        if left_over() < min(least, wanted):
            shown.remove(name)
    room = max(len(OVERRIDES), left_over())
    table = Table(box=None, padding=(0, gap, 0, 0), header_style="bold", pad_edge=False)
    for name in shown:
        table.add_column(headings[name], justify="left" if name in TEXT else "right", no_wrap=True, overflow="ellipsis")
    for row, style in rows:
        by_name = dict(zip(head, row))
        by_name[OVERRIDES] = shortened(by_name[OVERRIDES], room)
        texts = [Text(by_name[name], style=STYLES.get(by_name[name], "") if name == "state" else "") for name in shown]
        table.add_row(*texts, style=style or None)
    return table


def shortened(overrides: str, width: int) -> str:
    """Overrides in at most `width` columns: without the groups of their keys if that helps, then cut in the middle."""
    if width_of(overrides) <= width:
        return overrides
    short = short_overrides(overrides)
    return short if width_of(short) <= width else without_middle(short, width)


def short_overrides(overrides: str) -> str:
    """`lr=0.01 seed=1` for `optim.lr=0.01 seed=1`, unless two keys would look the same. Empty if there are none."""
    if overrides == NOTHING:
        return ""
    words = [word.partition("=") for word in overrides.split(" ")]
    last = [key.rpartition(".")[2] if equals else key for key, equals, _ in words]  # a value may contain a space
    return " ".join(
        f"{name if last.count(name) == 1 else key}{equals}{value}" for name, (key, equals, value) in zip(last, words)
    )


def _style(job: Job) -> str:
    return "dim" if job.state == states.WAITING else ""


def _slots(job: Job) -> str:
    return ", ".join(map(str, job.slots))


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
