"""What a run says: the same facts as plain lines and on a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from mlrun.report import terminal
from mlrun.report.numbers import clock, duration, number
from mlrun.report.progress import Progress
from mlrun.report.tables import aligned

CONFIG = {
    "model": {"name": "mlp", "_target_": "mlrun.tasks.supervised.Supervised", "network": {"hidden": [256]}},
    "dataset": {"name": "digits", "problem": "classification"},
    "optim": {"_target_": "torch.optim.Adam", "lr": 0.001, "foreach": None},
    "scheduler": {"_target_": None},
    "trainer": {"max_epochs": 30, "early_stopping_patience": 5, "accelerator": "auto", "precision": 32, "l2": 1e-4},
    "seed": 7,
}
RESULT = SimpleNamespace(
    metrics={"val/accuracy": 0.9694, "train/loss": 0.01, "test/accuracy": 0.97222222, "test/log_loss": 0.12345678},
    status="FINISHED",
    run_id="3f2a9c0d5e6f4a7b8c9d0e1f2a3b4c5d",
    directory=Path("outputs/first"),
    seconds={"import": 3.21, "data": 0.034, "fit": 12.3},
    parameters=19210,
    best_epoch=17,
    model="mlp",
    dataset="digits",
    monitor="val/accuracy",
)


def test_config_summary_in_plain_lines():
    stream = io.StringIO()
    overrides, sizes = ["model.network.hidden=[512]", "seed=7"], {"train": 1078, "test": 360}
    terminal.config_summary(CONFIG, overrides, sizes=sizes, run_id="ab12", stream=stream)
    lines = dict(line.split(maxsplit=1) for line in stream.getvalue().splitlines())
    assert lines == {
        "model": "mlp  with network.hidden=[512]",
        "dataset": "digits, classification, 1,078 train / 360 test",
        "optim": "Adam(lr=0.001)",
        "trainer": "30 epochs, patience 5, l2 0.0001",
        "seed": "7",
        "run": "ab12",
    }


def test_config_summary_of_an_estimator_names_the_one_that_is_used():
    model = {
        "name": "random_forest",
        "classifier": {"_target_": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 50},
        "regressor": {"_target_": "sklearn.ensemble.RandomForestRegressor", "n_estimators": 60},
    }
    rows = dict(terminal.config_rows({**CONFIG, "model": model}, problem="regression"))
    assert rows["model"] == "random_forest: RandomForestRegressor(n_estimators=60)"
    assert not {"optim", "trainer", "scheduler"} & set(rows)


def test_config_summary_names_the_callbacks_if_there_are_any():
    from omegaconf import OmegaConf

    callbacks = {"swa": {"_target_": "lightning.pytorch.callbacks.StochasticWeightAveraging", "swa_lrs": 0.01}}
    trainer = OmegaConf.create({"max_epochs": 3, "callbacks": callbacks, "loggers": {}})
    assert dict(terminal.config_rows({**CONFIG, "trainer": trainer}))["trainer"] == "3 epochs, callbacks {swa}"


def test_config_summary_takes_omegaconf():
    from omegaconf import OmegaConf

    assert dict(terminal.config_rows(OmegaConf.create(CONFIG))) == dict(terminal.config_rows(CONFIG))


def test_result_in_plain_lines():
    stream = io.StringIO()
    terminal.result_table(RESULT, stream=stream)
    text = stream.getvalue()
    assert "\x1b" not in text
    head, *lines = text.splitlines()
    assert head == "mlp on digits: FINISHED"
    assert [line.split()[:2] for line in lines[:4]] == [
        ["test/accuracy", "0.9722"], ["test/log_loss", "0.1235"], ["val/accuracy", "0.9694"], ["train/loss", "0.01000"],
    ]  # fmt: skip
    assert RESULT.run_id in text and "outputs/first" in text and "19,210" in text and "mlrun ui" in text
    assert "15.5 s  (import 3.2 s, data 0.03 s, fit 12.3 s)" in text and "17 by val/accuracy" in text


def test_a_loss_that_is_a_metric_has_its_name_on_every_split():
    stream = io.StringIO()
    metrics = {"train/loss": 0.1, "val/loss": 0.2, "val/log_loss": 0.2000001, "test/log_loss": 0.3}
    terminal.result_table(
        SimpleNamespace(**{**vars(RESULT), "metrics": metrics, "loss_name": "log_loss"}), stream=stream
    )
    shown = dict(line.split()[:2] for line in stream.getvalue().splitlines()[1:4])
    assert shown == {"test/log_loss": "0.3000", "val/log_loss": "0.2000", "train/log_loss": "0.1000"}


def test_a_class_with_a_comma_is_quoted_beside_its_recall():
    stream = io.StringIO()
    own = {
        "metrics": {"val/recall_no": 0.5, "val/recall_yes": 0.25},
        "classes": {"recall_no": "no", "recall_yes": "yes, fast"},
    }
    terminal.result_table(SimpleNamespace(**{**vars(RESULT), **own}), stream=stream)
    assert 'no 0.500, "yes, fast" 0.250' in stream.getvalue()


def test_result_without_optional_facts():
    stream = io.StringIO()
    bare = SimpleNamespace(**{**vars(RESULT), "metrics": {}, "seconds": {}, "parameters": None, "best_epoch": None})
    terminal.result_table(bare, stream=stream)
    assert "parameters" not in stream.getvalue() and RESULT.run_id in stream.getvalue()


def run_epochs(progress, last, total=None):
    progress.start(total or last, 10, "val/accuracy", "max")
    for epoch in range(1, last + 1):
        for batch in range(10):
            progress.step(batch, 1 / epoch)
        progress.epoch(epoch, {"train/loss": 1 / epoch, "val/accuracy": 0.9 if epoch == 3 else 0.5})
    progress.stop()
    progress.stop()


def test_plain_progress_prints_few_lines_and_always_the_last():
    for last, total, expected in [(5, 5, 5), (200, 200, 21), (137, 1000, 4), (1, 1, 1)]:
        stream = io.StringIO()
        run_epochs(Progress(stream=stream), last, total)
        lines = stream.getvalue().splitlines()
        assert abs(len(lines) - expected) <= 1, lines
        assert lines[0].startswith(f"epoch 1/{total}  ") and lines[-1].startswith(f"epoch {last}/{total}  ")
        assert len(set(lines)) == len(lines) and "\x1b" not in stream.getvalue()
    assert "train/loss 0.007299  val/accuracy 0.5000  best 0.9000 (epoch 3)" in run_lines(137)[-1]


def run_lines(last):
    stream = io.StringIO()
    run_epochs(Progress(stream=stream), last)
    return stream.getvalue().splitlines()


def test_the_best_of_earlier_epochs_is_known_when_resumed():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    progress.start(3, 1, "val/accuracy", "max", finished_epochs=2, history={"val/accuracy": [(1, 0.9), (2, 0.8)]})
    progress.epoch(3, {"val/accuracy": 0.7})
    progress.stop()
    assert "best 0.9000 (epoch 1)" in stream.getvalue()


def test_progress_of_unknown_length_and_of_a_minimum():
    stream = io.StringIO()
    progress = Progress(stream=stream, unit="episode")
    progress.start(None, None, "val/loss")
    for epoch, loss in enumerate([3.0, 1.0, float("nan"), 2.0], start=1):
        progress.epoch(epoch, {"val/loss": loss})
    progress.stop()
    lines = stream.getvalue().splitlines()
    assert lines[-1].startswith("episode 4  val/loss 2.000  best 1.000 (episode 2)") and len(lines) == 4


@pytest.mark.parametrize("width", [50, 80, 120])
def test_progress_line_fits_the_terminal(width):
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=20, color_system=None)
    progress = Progress(console=console)
    run_epochs(progress, 12)
    drawn = io.StringIO()
    Console(file=drawn, width=width).print(progress._line())
    (line,) = drawn.getvalue().splitlines()
    assert line.startswith("epoch 12/12") and "loss 0.08333" in line and "accuracy 0.5000" in line
    assert ("best 0.9000" in line) == (width >= 72) and len(line) <= width


def test_progress_draws_at_most_eight_times_a_second():
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    progress = Progress(console=console)
    progress.start(1, 100_000, "val/accuracy")
    drawn = []
    progress._live.update = lambda line, refresh: drawn.append(line)
    for batch in range(20_000):
        progress.step(batch, 0.5)
    seconds = progress._next_drawing  # of the last drawing, plus the pause
    assert 1 <= len(drawn) <= 2 + (seconds - progress._begin) / 0.125
    progress.stop()


def test_result_on_a_recorded_console(monkeypatch):
    from rich.console import Console

    console = Console(file=io.StringIO(), record=True, width=100, force_terminal=True)
    monkeypatch.setattr(terminal, "new_console", lambda stream=None: console)
    terminal.result_table(RESULT)
    terminal.config_summary(CONFIG)
    text = console.export_text()
    header = next(line for line in text.splitlines() if "metric" in line)
    assert header.split() == ["│", "metric", "test", "val,", "epoch", "17", "train", "│"]
    row = next(line for line in text.splitlines() if "accuracy *" in line)
    assert row.split()[3:5] == ["0.9722", "0.9694"]
    assert RESULT.run_id in text and "Adam(lr=0.001)" in text


SCRIPT = """
import sys
from mlrun.report.terminal import Progress, result_table
from types import SimpleNamespace
progress = Progress()
progress.start(2, 3, "val/accuracy", "max")
for epoch in (1, 2):
    progress.step(0, 0.5)
    progress.epoch(epoch, {"val/accuracy": 0.9})
progress.stop()
result_table(SimpleNamespace(metrics={"test/accuracy": 0.9}, status="FINISHED", run_id="ab12", directory="here",
             seconds={}, parameters=None, best_epoch=None, model="mlp", dataset="digits", monitor="val/accuracy"))
print("rich" if "rich" in sys.modules else "poor")
"""


def on_pseudo_terminal(**environment):
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=follower, env=environment, close_fds=True)
    os.close(follower)
    output = b""
    try:
        while chunk := os.read(leader, 4096):
            output += chunk
    except OSError:  # Linux reports the closed terminal so
        pass
    os.close(leader)
    assert process.wait() == 0
    return output.decode()


def test_a_terminal_gets_rich_and_a_pipe_plain_lines():
    shown = on_pseudo_terminal()
    assert "\x1b[" in shown and "╭" in shown and "ab12" in shown and shown.rstrip().endswith("rich")
    dumb = on_pseudo_terminal(TERM="dumb")
    assert "\x1b" not in dumb and "epoch 2/2" in dumb and dumb.rstrip().endswith("poor")
    piped = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in piped and "\r" not in piped and piped.rstrip().endswith("poor")


def test_no_color_takes_the_colour():
    shown = on_pseudo_terminal(NO_COLOR="1")
    assert "╭" in shown and "\x1b[32m" not in shown and "\x1b[1;36m" not in shown


@pytest.mark.parametrize(
    "value, text",
    [(0.97, "0.9700"), (1.0, "1.000"), (53.4, "53.40"), (12345.6, "12,346"), (1.2e-5, "1.200e-05"), (0.0, "0"),
     (19210, "19,210"), (float("nan"), "nan"), (-1234.6, "-1,235"), (999.96, "1,000"), (999.7, "999.7"),
     (9999.7, "10,000"), (None, "-"), (3e12, "3.000e+12")],
)  # fmt: skip
def test_numbers_have_four_digits(value, text):
    assert number(value) == text


def test_times():
    assert [duration(s) for s in (0.031, 12.34, 200, 7500)] == ["0.03 s", "12.3 s", "3 min 20 s", "2 h 05 min"]
    assert [clock(s) for s in (7.9, 750, 3723)] == ["0:07", "12:30", "1:02:03"]


@pytest.mark.parametrize("room", [70, 78])
def test_a_table_of_plain_lines_fits_its_room(room):
    head = ("row", "true", "predicted", "probability of predicted", "probability of true", "text")
    rows = [
        ("120", "sci.space.long", "rec", "0.9900", "0.0010", "东京的房子很大 and this text goes on"),
        ("3", "a", "rec.sport.hockey", "0.9000", "0.1000", "short"),
    ]
    lines = list(aligned([head, *rows], [True] * 6, room))
    assert max(map(cell_len, lines)) <= room and len({cell_len(line.split("0.9")[0]) for line in lines[-2:]}) == 1
    assert lines[-2].endswith("…") and all(number in lines[-2] for number in ("120", "0.9900", "0.0010"))
    assert len(list(aligned([head, *rows], [True] * 6))) == 3


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_progress_line_cuts_no_number(width):
    console = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO())
    progress = Progress(console=console)
    progress.start(20, 18, "val/balanced_accuracy", "max")
    progress.epoch(12, {"train/loss": 0.412345, "val/balanced_accuracy": 0.95})
    progress.stop()
    last = console.file.getvalue().splitlines()[-2].rpartition("\x1b[2K")[2]
    assert "…" not in last and "loss 0.4123  " in last and "balanced_accuracy 0.9500" in last
    assert ("best 0.9500  0:00 < 0:00" in last) == (width > 60)
