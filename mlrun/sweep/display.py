"""What a sweep says: one live table on a terminal, a line per event elsewhere, and the table at the end."""

from __future__ import annotations

import os
import time

from mlrun.report.console import new_console
from mlrun.report.numbers import clock, duration, number
from mlrun.sweep import job as states
from mlrun.sweep.job import Job

REDRAW = 0.25  # seconds
STYLES = {
    states.RUNNING: "cyan",
    states.FINISHED: "green",
    states.FAILED: "bold red",
    states.KILLED: "red",
    states.PRUNED: "yellow",
}
ORDER = (states.FAILED, states.KILLED, states.RUNNING, states.FINISHED, states.PRUNED)


class Display:
    """jobs: all that are known so far; total: how many there will be, if that is known."""

    def __init__(self, jobs: list[Job], total: int | None, common: list[str] = (), stream=None):
        self.jobs, self.total, self.common, self.stream = jobs, total, set(common), stream
        self.console = new_console(stream)
        self.live = None
        self.message = self.hint = ""
        self.begin = time.monotonic()
        self._drawn, self._ended = 0.0, 0

    def __enter__(self):
        if self.console is not None:
            from rich.live import Live

            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_):
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """A line about the sweep as a whole."""
        self.message = text
        if self.live is None:
            self._print(text)
        else:
            self._draw()

    def note(self, text: str) -> None:
        """What is going on before jobs run; on a terminal only."""
        if self.live is not None:
            self.hint = text
            self._draw()

    def started(self, job: Job) -> None:
        if self.live is None:
            self._print(f"{self._head(job)} started on {_slots(job)}: {self.varied(job)}")

    def ended(self, job: Job) -> None:
        self._ended += 1
        if self.live is None:
            value = f"  {job.monitor} {number(job.objective)}" if job.objective is not None else ""
            log = "" if job.state == states.PRUNED else f"  (log: {_short(job.log)})"
            said = f": {job.reason}{log}" if job.reason else ""
            self._print(f"{self._head(job)} {job.state} after {duration(job.seconds)}{value}{said}")
        elif job.state in (states.FAILED, states.KILLED):
            from rich.text import Text

            text = Text.assemble(
                (f"job {job.number} {job.state}", STYLES[job.state]), f": {job.reason}\n  log: {_short(job.log)}"
            )
            self.live.console.print(text)  # stays above the table

    def tick(self, pool) -> None:
        if pool.interrupts and not self.message.startswith("stopping"):
            self.say("stopping: the jobs are closing their runs; Ctrl-C again kills them")
        if self.live is not None and time.monotonic() - self._drawn > REDRAW:
            self._draw()

    def varied(self, job: Job) -> str:
        """The overrides in which jobs differ."""
        return " ".join(override for override in job.overrides if override not in self.common) or "(no overrides)"

    def _head(self, job: Job) -> str:
        return f"[{self._ended + sum(other.earlier for other in self.jobs)}/{self.total or '?'}] job {job.number}"

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _draw(self) -> None:
        self.live.update(self._table(), refresh=True)
        self._drawn = time.monotonic()

    def _table(self):
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for name, justify in (("job", "right"), ("overrides", "left"), ("slot", "left"), ("state", "left"), ("epoch", "right"),
                              ("metric", "right"), ("elapsed", "right"), ("left", "right")):  # fmt: skip
            table.add_column(
                name, justify=justify, no_wrap=True, overflow="ellipsis", ratio=1 if name == "overrides" else None
            )
        room = max(3, self.console.height - 6)
        shown = [job for job in self.jobs if job.state == states.RUNNING]
        rest = [job for job in self.jobs if job.state in states.ENDED and not job.earlier]
        shown = rest[max(0, len(rest) - max(0, room - len(shown))) :] + shown
        waiting = [job for job in self.jobs if job.state == states.WAITING]
        shown += waiting[: max(0, room - len(shown))]
        for job in shown[:room]:
            epoch = f"{job.epoch}/{job.total_epochs}" if job.total_epochs else str(job.epoch or "")
            value = job.objective if job.objective is not None else job.watched
            left = job.remaining()
            table.add_row(
                str(job.number), Text(self.varied(job)), _slots(job), Text(job.state, style=STYLES.get(job.state, "dim")), epoch,
                "" if value is None else f"{number(value)}", clock(job.elapsed) if job.started else "", "" if left is None else clock(left),
                style="dim" if job.state == states.WAITING else None,
            )  # fmt: skip
        counts = ", ".join(f"{count} {state}" for state, count in count_states(self.jobs).items())
        line = f"{counts}  {clock(time.monotonic() - self.begin)}"
        remaining = self._remaining()
        if remaining is not None:
            line += f"  about {clock(remaining)} left"
        return Group(table, Text(line, style="bold"), Text(self.hint or self.message, style="dim"))

    def _remaining(self) -> float | None:
        """From the mean time of finished jobs and the slots in use."""
        took = [job.seconds for job in self.jobs if job.state == states.FINISHED and not job.earlier]
        running = [job for job in self.jobs if job.state == states.RUNNING]
        if not took or not running:
            return None
        mean = sum(took) / len(took)
        waiting = sum(job.state == states.WAITING for job in self.jobs)
        return (waiting * mean + sum(max(0.0, mean - job.elapsed) for job in running)) / len(running)


def count_states(jobs: list[Job]) -> dict[str, int]:
    counts = {state: sum(job.state == state for job in jobs) for state in (*ORDER, states.WAITING)}
    return {state: count for state, count in counts.items() if count}


def ranked(jobs: list[Job]) -> list[Job]:
    """Best first; jobs that watch another metric apart, then those that break a limit; without a value last."""

    def key(job):
        value = job.objective
        worst = value is None or value != value
        return (
            worst,
            not job.accepted,
            job.monitor,
            0.0 if worst else (value if job.mode == "min" else -value),
            job.number,
        )

    return sorted(jobs, key=key)


def summary(
    jobs: list[Job], display: Display, directory, resume: str, seconds: float, parent: str | None, shown: int = 20
) -> None:
    """Best first, counts, failures with reasons, and the command that resumes."""
    good = [job for job in ranked(jobs) if job.state == states.FINISHED]
    bad = [job for job in jobs if job.state in (states.FAILED, states.KILLED)]
    counts = ", ".join(f"{count} {state}" for state, count in count_states(jobs).items())
    rows = []
    for rank, job in enumerate(good[:shown], 1):
        test = next(
            (value for name, value in (job.result.get("metrics") or {}).items() if name == _test_name(job.monitor)),
            None,
        )
        rows.append(
            (
                str(rank) if job.accepted else "no",
                str(job.number),
                display.varied(job),
                number(job.objective),
                number(test),
                duration(job.seconds),
            )
        )
    monitors = sorted({job.monitor for job in good if job.monitor})
    head = (
        "",
        "job",
        "overrides",
        " | ".join(monitors) or "value",
        " | ".join(map(_test_name, monitors)) or "test",
        "time",
    )
    if rows:
        _table(head, rows, display)
    if len(good) > shown:
        display._print(f"... and {len(good) - shown} more in {_short(directory)}/sweep.csv")
    for job in bad:
        display._print(f"{job.state}: job {job.number} ({display.varied(job)}): {job.reason}  log: {_short(job.log)}")
    display._print(f"sweep: {counts} in {duration(seconds)}")
    display._print(f"directory: {_short(directory)}" + (f"  MLflow run: {parent}" if parent else ""))
    if any(job.state not in (states.FINISHED, states.PRUNED) for job in jobs):
        display._print(f"resume: {resume}")


def _test_name(monitor: str) -> str:
    return f"test/{monitor.rpartition('/')[2]}" if monitor else ""


def _table(head, rows, display: Display) -> None:
    if display.console is not None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for index, name in enumerate(head):
            table.add_column(name, justify="left" if index == 2 else "right", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row), style="green" if row[0] == "1" else None)
        display.console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if index == 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ]
        display._print("  ".join(cells).rstrip())


def _slots(job: Job) -> str:
    return ", ".join(map(str, job.slots))


def _short(path) -> str:
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
