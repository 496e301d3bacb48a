"""A metric to optimize among runs that are fast enough."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mlrun.cli import dispatch
from mlrun.errors import UserError
from mlrun.sweep import job as states
from mlrun.sweep.job import Job
from mlrun.sweep.record import best_of
from mlrun.sweep.selection import Selection
from mlrun.tracking.read import find_runs
from tests.practice.conftest import ESTIMATOR, NETWORK


def test_the_slow_run_is_left_out(finished, capsys, monkeypatch):
    network, forest = finished(*NETWORK), finished(*ESTIMATOR)
    monkeypatch.chdir(finished.folder)
    speed = {
        Path(run.tags["directory"]): run.metrics["predict_ms"]
        for run in find_runs("mlrun")
        if "predict_ms" in run.metrics
    }
    speed = {run: speed[run] for run in (network, forest)}
    assert 0 < min(speed.values()) < max(speed.values())
    limit = sum(speed.values()) / 2
    fast = "mlp" if speed[network] < speed[forest] else "random_forest"
    capsys.readouterr()
    assert (
        dispatch(
            [
                "leaderboard",
                "--by",
                "model,dataset",
                "select.maximize=val/accuracy",
                f"select.subject_to=predict_ms<={limit}",
                "--format",
                "csv",
            ]
        )
        == 0
    )
    table = csv.DictReader(capsys.readouterr().out.splitlines())
    assert [(row["model"], row["metric"]) for row in table if row["dataset"] == "iris"] == [(fast, "val/accuracy")]
    with pytest.raises(UserError, match="no run is within the limits .predict_ms is"):
        dispatch(["leaderboard", "select.subject_to=predict_ms<0"])


def test_what_is_still_running_is_not_the_best(tmp_path):
    slow = Job(0, [], None, "", tmp_path, state=states.FINISHED, monitor="val/accuracy", returned=0.9, accepted=False)
    going = Job(1, [], None, "", tmp_path, state=states.RUNNING, monitor="val/accuracy", watched=0.5)
    good = Job(2, [], None, "", tmp_path, state=states.FINISHED, monitor="val/accuracy", returned=0.8)
    assert best_of([slow, going]) is None and best_of([slow, going, good]) is good


def test_what_can_be_said():
    chosen = Selection.parse(["select.minimize=val/rmse", "select.subject_to='predict_ms <= 1, parameters<1e5'"])
    assert (chosen.metric, chosen.mode) == ("val/rmse", "min") and chosen.conditions == (
        ("predict_ms", "<=", 1.0),
        ("parameters", "<", 1e5),
    )
    assert chosen.accepts({"predict_ms": 1.0, "parameters": 3}) and not chosen.accepts({"predict_ms": 0.5})
    for wrong in (["select.subject_to=fast"], ["select.maximise=a"], ["select.maximize=a", "select.minimize=b"]):
        with pytest.raises(UserError):
            Selection.parse(wrong)
