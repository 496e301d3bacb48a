"""`mlrun leaderboard` over synthetic runs, against numpy."""

from __future__ import annotations

import csv
import io
import os
import resource
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from mlrun.commands.leaderboard import _table
from mlrun.errors import UserError
from mlrun.sweep.leaderboard import Board, Row, curves, keys_of, leaderboard, leaderboards, read_runs
from mlrun.tracking.directions import KIND, as_tag, direction_of, directions
from mlrun.tracking.store import open_client
from mlrun.tracking.stored_run import StoredRun

MODELS, RATES, SEEDS = ("mlp", "linear", "svm", "knn"), tuple(f"{10.0**-power:g}" for power in range(50)), range(1, 6)


def value_of(model, rate, seed):
    return float(np.random.default_rng([MODELS.index(model), RATES.index(rate), seed]).normal(0.9, 0.05))


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """1,000 runs of 80 parameters each in a database that MLflow made; a few are unfinished."""
    directory = tmp_path_factory.mktemp("board")
    client = open_client(f"sqlite:///{directory / 'mlflow.db'}")
    experiment = client.create_experiment("board")
    with sqlite3.connect(directory / "mlflow.db") as database:
        for number, (model, rate, seed) in enumerate((m, r, s) for m in MODELS for r in RATES for s in SEEDS):
            run = f"{number:032x}"
            status = "FAILED" if (model, rate, seed) == ("knn", "1", 5) else "FINISHED"
            database.execute(
                "insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
                "deleted_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
                "values (?, 'x', 'LOCAL', '', '', '', ?, ?, ?, null, '', 'active', '', ?)",
                (run, status, number, number + 1, experiment),
            )
            params = {
                "optim.lr": rate,
                "seed": seed,
                "dataset.split.seed": seed,
                **{f"model.p{i}": i for i in range(77)},
            }
            database.executemany(
                "insert into params (key, value, run_uuid) values (?, ?, ?)",
                [(k, str(v), run) for k, v in params.items()],
            )
            tags = {
                "model": model, "dataset": "digits", "monitor": "val/accuracy", "mode": "max", "parameters": "123",
                **as_tag({"frechet": "min"}),
            }  # fmt: skip
            database.executemany(
                "insert into tags (key, value, run_uuid) values (?, ?, ?)", [(k, v, run) for k, v in tags.items()]
            )
            if status == "FINISHED":
                metrics = {
                    "test/accuracy": value_of(model, rate, seed),
                    "test/frechet": value_of(model, rate, seed),
                    "test/kindness": 1.0,
                    "wall/fit": 2.0,
                    "val/loss": 1.0,
                }
                rows = [(k, v, 0, 0, 0, run) for k, v in metrics.items()]
                database.executemany(
                    "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values (?, ?, ?, ?, ?, ?)",
                    rows,
                )
    return directory


def command(directory, *arguments):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": ""}
    return subprocess.run(
        [sys.executable, "-m", "mlrun", "leaderboard", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )


def processor_seconds():
    """Of the processes that this one has started and waited for: a busy machine does not add to them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_thousand_runs(thousand):
    before = processor_seconds()
    done = command(thousand, "board", "--format", "csv")
    seconds = processor_seconds() - before
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 200
    for row in rows:
        values = [value_of(row["model"], row["optim.lr"], seed) for seed in SEEDS]
        unfinished = (row["model"], row["optim.lr"]) == ("knn", "1")
        values = values[:4] if unfinished else values
        assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-12) and float(row["std"]) == pytest.approx(
            np.std(values), abs=1e-12
        )
        assert (
            float(row["best"]) == max(values)
            and int(row["n"]) == len(values)
            and row["incomplete"] == str(unfinished).lower()
        )
        assert row["seconds"] == "2.00" and row["parameters"] == "123"
    means = [float(row["mean"]) for row in rows]
    assert means == sorted(means, reverse=True)
    assert seconds < 3


def test_by_model(thousand):
    done = command(thousand, "board", "--by", "model,dataset", "--format", "md")
    lines = done.stdout.splitlines()
    assert (
        lines[0] == "**digits: sorted by test/accuracy, larger is better**"
        and lines[2].startswith("| model | dataset | test/accuracy mean | std | n |")
        and len([line for line in lines if "| digits |" in line]) == 4
    )
    best = max(
        MODELS,
        key=lambda model: np.mean(
            [value_of(model, rate, seed) for rate in RATES for seed in SEEDS if (model, rate, seed) != ("knn", "1", 5)]
        ),
    )
    assert lines[4].startswith(f"| {best} | digits |")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["bord"], "there is no experiment 'bord' (there is board)"),
        (["board", "--by", "optm.lr"], "did you mean 'optim.lr'"),
        (["board", "--metric", "test/acc"], "no runs with test/acc — did you mean 'test/accuracy'?"),
        (["board", "--metric", "test/kindness"], "test/kindness: no run declares a direction for it"),
        (["board", "--metric", "test/kindness"], "select.maximize=test/kindness or select.minimize=test/kindness"),
    ],
)
def test_mistakes(thousand, arguments, message):
    done = command(thousand, *arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def run(model, seed, value, started=0, status="FINISHED", monitor="val/accuracy", mode="max", **params):
    params = {"seed": str(seed), "optim.lr": "0.1", "dataset.split.seed": str(seed), **params}
    metrics = {} if value is None else {monitor.replace("val", "test"): value}
    tags = {"model": model, "dataset": "iris", "monitor": monitor, "mode": mode}
    return StoredRun(f"{model}{seed}{started}", "", status, params, metrics, tags, "", started)


def test_groups():
    runs = [run("a", 1, 0.5), run("a", 2, 0.7), run("b", 1, 0.9), run("b", 2, None, status="KILLED")]
    a, b = sorted(leaderboard(runs).rows, key=lambda row: row.keys["model"])
    assert (a.n, a.mean, a.incomplete, a.best_run) == (2, pytest.approx(0.6), False, "a20")
    assert (b.n, b.unfinished, b.incomplete) == (1, 1, True)


def test_the_same_seed_twice_counts_once():
    (row,) = leaderboard([run("a", 1, 0.5), run("a", 1, 0.6, started=5)]).rows
    assert row.values == [0.6]


def test_a_fixed_split_is_not_a_following_one():
    fixed = {"dataset.split.seed": "7"}
    following, other = (
        [run("a", 1, 0.5), run("a", 2, 0.5)],
        [run("a", seed, 0.6, started=1, **fixed) for seed in (1, 2, 7)],
    )
    assert [row.n for row in leaderboard(following).rows] == [2]
    assert sorted(row.n for row in leaderboard([*following, *other]).rows) == [2, 3]


def test_smaller_may_be_better():
    runs = [run("a", 1, 3.0, monitor="val/rmse", mode="min"), run("b", 1, 2.0, monitor="val/rmse", mode="min")]
    assert [row.keys["model"] for row in leaderboard(runs).rows] == ["b", "a"]
    assert leaderboard(runs).mode == "min"


def test_a_metric_is_ranked_by_its_declared_direction(thousand):
    done = command(thousand, "board", "--metric", "test/frechet", "--format", "csv")
    assert done.returncode == 0, done.stderr
    means = [float(row["mean"]) for row in csv.DictReader(io.StringIO(done.stdout))]
    assert len(means) == 200 and means == sorted(means) and means[0] < means[-1]
    done = command(thousand, "board", "select.maximize=test/frechet", "--format", "csv")  # the user decides
    means = [float(row["mean"]) for row in csv.DictReader(io.StringIO(done.stdout))]
    assert len(means) == 200 and means == sorted(means, reverse=True)
    assert command(thousand, "board", "select.minimize=test/kindness").returncode == 0


def declaring(metric="test/score", monitor=None, **declared):
    tags = as_tag(declared) | (monitor or {})
    return StoredRun("a", "", "FINISHED", {"seed": "1"}, {metric: 1.0}, tags, "")


def test_all_parts_of_a_metric_share_its_direction():
    runs = [declaring(frechet="min", accuracy="max")]
    for part in ("train", "val", "test", "cv", "fold"):
        assert direction_of(f"{part}/frechet", runs) == "min" and direction_of(f"{part}/accuracy", runs) == "max"
    assert direction_of("frechet", runs) == "min"


@pytest.mark.parametrize(
    "metric", ["wall/fit", "seconds/fit", "cv_std/accuracy", "predict_ms", "parameters", "val/loss"]
)
def test_costs_and_deviations_are_minimized(metric):
    assert direction_of(metric, [declaring(accuracy="max")]) == "min"


def test_an_earlier_run_declares_the_direction_of_its_watched_metric():
    run = declaring(monitor={"monitor": "val/frechet", "mode": "min"})
    assert directions(run) == {"frechet": "min"} and direction_of("test/frechet", [run]) == "min"
    with pytest.raises(UserError, match="test/error: no run declares a direction"):  # whatever its name
        direction_of("test/error", [run])


def test_runs_that_disagree_about_a_direction():
    one, other, third = declaring(score="max"), declaring(score="min"), declaring("val/x", score="min")
    with pytest.raises(UserError, match="test/score: runs declare both directions"):
        direction_of("test/score", [one, other])
    assert direction_of("test/score", [one, third]) == "max"  # only one of them has measured it
    assert direction_of("test/other", [declaring("val/x", other="min")]) == "min"


def test_datasets_and_problems_are_kept_apart():
    def on(dataset, problem, model, value):
        one = run(model, 1, value)
        return StoredRun(
            one.run_id + dataset,
            "",
            one.status,
            one.params,
            one.metrics,
            {**one.tags, "dataset": dataset, "problem": problem},
            "",
        )

    runs = [
        on("iris", "classification", "a", 0.5),
        on("iris", "classification", "b", 0.7),
        on("wine", "classification", "a", 0.9),
    ]
    boards = leaderboards([*runs, on("iris", "similarity", "a", 0.1)])
    assert [(board.dataset, board.problem, len(board.rows)) for board in boards][0] == ("iris", "classification", 2)
    assert all(board.shown == ["model"] for board in boards)  # the heading names the dataset
    assert len(boards) == 3 and all(len({row.keys["dataset"] for row in board.rows}) == 1 for board in boards)


def test_the_validation_metric_ranks_and_the_test_metric_is_shown():
    def measured(model, val, test):
        one = run(model, 1, test)
        return StoredRun(one.run_id, "", one.status, one.params, {**one.metrics, "val/accuracy": val}, one.tags, "")

    board = leaderboard([measured("lucky", 0.7, 0.9), measured("better", 0.8, 0.8)])
    assert (board.metric, board.test) == ("val/accuracy", "test/accuracy")
    assert [(row.keys["model"], row.test) for row in board.rows] == [("better", 0.8), ("lucky", 0.9)]


def test_auxiliary_runs_are_left_out():
    reference = run("cnn", 0, 0.99)
    reference = StoredRun(
        "r", "", "FINISHED", reference.params, reference.metrics, {**reference.tags, KIND: "reference classifier"}, ""
    )
    assert [row.keys["model"] for row in leaderboard([run("a", 1, 0.5), reference]).rows] == ["a"]


def test_by_every_column_that_is_shown(thousand):
    with_class = (
        run("a", 1, 0.5, **{"optim._target_": "torch.optim.SGD"}),
        run("a", 1, 0.7, **{"optim._target_": "torch.optim.Adam"}),
    )
    assert {"optim", "optim.lr", "model"} <= keys_of(list(with_class))
    assert [row.keys["optim"] for row in leaderboard(list(with_class), by=["optim"]).rows] == ["Adam", "SGD"]
    for column in ("model", "optim.lr", "dataset"):
        assert command(thousand, "board", "--by", column).returncode == 0


def test_parents_are_left_out():
    parent = StoredRun("p", "", "FINISHED", {"grid.seed": "1,2"}, {"val/accuracy": 1.0}, {"mlrun.kind": "sweep"}, "", 0)
    assert [row.keys["model"] for row in leaderboard([run("a", 1, 0.5), parent]).rows] == ["a"]


def test_curves_are_mean_and_std_at_the_points_that_all_seeds_reached():
    histories = {
        "val/return": {"0": {1: 1.0, 2: 5.0, 3: 9.0}, "1": {1: 3.0, 2: 5.0}, "2": {1: 0.0}},
        "train/steps": {run: {1: 100.0, 2: 200.0, 3: 300.0} for run in "012"},
    }

    def read(runs, metric):
        return {run: histories[metric][run] for run in runs if run in histories.get(metric, {})}

    rows = [Row({"model": "dqn"}, values=[1.0, 2.0], runs=["0", "1"]), Row({"model": "ppo"}, values=[0.0], runs=["2"])]
    board = Board("test/return", "max", rows, ["model"], "val/return")
    axis, (dqn, ppo) = curves(board, read, "val/return")
    assert axis == "environment steps" and (dqn.name, dqn.n, ppo.name, ppo.n) == ("dqn", 2, "ppo", 1)
    np.testing.assert_allclose([dqn.at, dqn.mean, dqn.std], [[100, 200], [2, 5], [1, 0]])
    del histories["train/steps"]["1"]  # then environment steps cannot be compared
    axis, (dqn, _) = curves(board, read, "val/return")
    assert axis == "epoch" and dqn.at.tolist() == [1, 2]


def test_curves_of_recorded_runs(thousand):
    with sqlite3.connect(thousand / "mlflow.db") as database:
        rows = [
            ("val/accuracy", value, epoch, 0, epoch, f"{seed:032x}")
            for seed in range(5)
            for epoch, value in ((1, 0.5), (2, 0.6 + seed / 10))
        ]
        database.executemany(
            "insert into metrics (key, value, timestamp, is_nan, step, run_uuid) values (?, ?, ?, ?, ?, ?)", rows
        )
    done = command(thousand, "board", "--by", "model", "--curves", "curves.png")
    assert done.returncode == 0, done.stderr
    assert (thousand / "curves.png").read_bytes()[:4] == b"\x89PNG"
    done = command(thousand, "board", "--metric", "val/loss", "--curves", "none.png")
    assert done.returncode == 2 and "--curves: no run has recorded val/loss while it trained" in done.stderr


def test_unfinished_runs_that_watch_nothing_yet_belong_to_the_board_of_their_model():
    """A run that was killed while it read its data has no tag that names the metric."""
    runs = [run("mlp", seed, 0.9) for seed in (1, 2)] + [run("dqn", 1, 5.0, monitor="val/return")]
    params = {"seed": "3", "optim.lr": "0.1", "dataset.split.seed": "3"}
    killed = StoredRun("killed", "", "KILLED", params, {}, {"model": "mlp", "dataset": "iris"}, "")
    boards = {board.metric: board for board in leaderboards([*runs, killed])}
    assert set(boards) == {"test/accuracy", "test/return"}
    (row,) = boards["test/accuracy"].rows
    assert (row.n, row.unfinished, row.incomplete) == (2, 1, True)


def test_a_directory_with_the_name_of_the_experiment(thousand):
    """This package's own directory has the name of the default experiment."""
    (thousand / "board").mkdir(exist_ok=True)
    done = command(thousand, "board", "--metric", "test/accuracy", "--by", "model")
    assert done.returncode == 0 and "sorted by test/accuracy" in done.stdout, done.stderr
    (thousand / "other").mkdir(exist_ok=True)
    assert "not the directory of a sweep" in command(thousand, "other").stderr


def test_runs_of_another_program_beside_those_of_this_one(tmp_path, monkeypatch):
    """Their metrics are read although the runs of another experiment watch others."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = open_client(uri)
    for experiment, metric, tags in (("ours", "val/accuracy", {"monitor": "val/accuracy"}), ("theirs", "test/f1", {})):
        one = client.create_run(client.create_experiment(experiment), tags=tags).info.run_id
        client.log_param(one, "depth", 3)
        client.log_metric(one, metric, 0.5)
        client.set_terminated(one)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert [one.metrics for one in read_runs("theirs")] == [{"test/f1": 0.5}]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_narrow_terminal_shows_the_models_and_whole_numbers(monkeypatch, capsys, width):
    monkeypatch.setattr("mlrun.report.console.new_console", lambda: Console(width=width))
    models = ["logistic_regression", "gradient_boosting"]
    rows = [
        Row({"model": model}, values=[0.9712, 0.9612], tests=[0.9543], seconds=[12.34], parameters=123_456)
        for model in models
    ]
    _table(Board("val/balanced_accuracy", "max", rows, ["model"], dataset="房屋", test="test/balanced_accuracy"))
    lines = capsys.readouterr().out.splitlines()
    for model in models:
        (row,) = (line for line in lines if line.startswith(model))
        assert {"0.9662", "2", "0.9543"} <= set(row.split()) and (width < 80 or "0.005000" in row)
    assert ("left out: " in "".join(lines)) == (width < 140)


def test_wide_characters_are_aligned(monkeypatch, capsys):
    rows = [Row({"dataset.path": path}, values=[0.97]) for path in ("房屋价格.csv", "houses.csv")]
    _table(Board("val/accuracy", "max", rows, ["dataset.path"]))
    ends = {cell_len(line[: line.index("0.97")]) for line in capsys.readouterr().out.splitlines() if "0.97" in line}
    assert len(ends) == 1
