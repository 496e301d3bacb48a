"""The tables of a sweep on terminals of several sizes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from mlrun.sweep import job as states
from mlrun.sweep.display import Display, short_overrides, shortened, summary
from mlrun.sweep.job import Job
from mlrun.sweep.journal import Journal
from mlrun.sweep.slots import Slot
from mlrun.sweep.tally import Tally


def jobs():
    found = []
    for number in range(40):
        overrides = [
            "model=transformer",
            f"model.network.dropout=0.{number:02}",
            f"optim.lr=0.0{number:02}",
            f"seed={number}",
        ]
        job = Job(
            number, overrides, None, "", Path(f"sweep/{number}"), monitor="val/exact_match", total_epochs=100, epoch=100
        )
        job.state, job.seconds, job.started = (
            (states.FINISHED, 3725.0, 1.0) if number < 36 else (states.WAITING, 0.0, None)
        )
        job.slots = (Slot("cpu", 1),) if number < 36 else ()
        job.watched = 0.97531
        found.append(job)
    return found


@pytest.fixture(params=[(80, 24), (60, 24), (140, 40)], ids=str)
def display(request):
    width, height = request.param
    tally = Tally()
    for job in jobs():
        tally.add(job)
    tally.recent.extend(job for job in tally.jobs if job.state == states.FINISHED)
    display = Display(tally, 40, common=["model=transformer"], stream=io.StringIO())
    display.console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    return display


def printed(display, renderable):
    console = Console(file=io.StringIO(), width=display.console.width, color_system=None)
    console.print(renderable)
    return console.file.getvalue().splitlines()


def test_numbers_states_and_times_are_never_cut(display):
    lines = printed(display, display.table())
    assert max(map(len, lines)) <= display.console.width and len(lines) <= display.console.height
    head, *rows = lines[:-2]
    assert head.split()[:2] == ["job", "overrides"] and "metric" in head and "elapsed" in head
    finished = [row for row in rows if "finished" in row]
    assert finished and all("0.9753" in row and "1:02:05" in row and row.split()[0].isdigit() for row in finished)
    assert all(f"seed={row.split()[0]}" in row for row in finished)  # the end of the overrides stays
    assert ("slot" in head) == (display.console.width >= 80)


def test_the_final_table_cuts_nothing_but_overrides(display, tmp_path):
    display.console = Console(
        file=io.StringIO(), force_terminal=True, width=max(80, display.console.width), color_system=None
    )
    journal = Journal(tmp_path)
    for job in display.tally.jobs:
        job.returned = 0.97531
        job.result = {"metrics": {"val/exact_match": 0.97531, "test/exact_match": 0.9642}}
        journal.write(job)
    summary(display.tally, display, journal, "mlrun resume sweep", 60.0, None)
    text = display.console.file.getvalue()
    rows = [line for line in text.splitlines() if "0.9642" in line and "0.9753" in line]
    assert rows and all(len(row) <= display.console.width and row.rstrip().endswith("1 h 02 min") for row in rows)


@pytest.mark.parametrize("width", [60, 80])
def test_long_names_of_metrics_and_wide_characters_cut_no_number(tmp_path, width):
    tally, journal, monitor = Tally(), Journal(tmp_path), "val/balanced_accuracy"
    for number in range(12):
        job = Job(
            number,
            ["model=logistic_regression", f"dataset.path=房屋/价格{number}.csv"],
            None,
            "",
            tmp_path,
            monitor=monitor,
        )
        job.state, job.seconds, job.returned = states.FINISHED, 12.3, 0.9753
        job.result = {"metrics": {monitor: 0.9753, "test/balanced_accuracy": 0.9642}}
        journal.write(job)
        tally.add(job)
    display = Display(tally, 12, stream=io.StringIO())
    display.console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    summary(tally, display, journal, "mlrun resume sweep", 60.0, None)
    lines = display.console.file.getvalue().splitlines()
    rows = [line.split() for line in lines if "0.9753" in line]
    assert [row[0] for row in rows] == [str(rank) for rank in range(1, 13)] and all("0.9642" in row for row in rows)
    assert lines[1].split().count("balanced_accuracy") == 2 and "…" not in lines[1]
    assert all(cell_len(line) <= width and ".csv" in line for line in lines if "0.9753" in line)


def test_overrides_lose_their_groups_first():
    text = "model.network.dropout=0.1 optim.lr=0.01 seed=3"
    assert shortened(text, 60) == text
    assert shortened(text, 30) == "dropout=0.1 lr=0.01 seed=3" == short_overrides(text)
    assert len(shortened(text, 15)) == 15 and shortened(text, 15).endswith("seed=3")
    assert short_overrides("a.lr=1 b.lr=2") == "a.lr=1 b.lr=2" and short_overrides("(no overrides)") == ""
