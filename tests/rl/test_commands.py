"""What can be done with a finished run of an environment, as a user does it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mlrun.commands import evaluate, predict
from mlrun.errors import UserError


@pytest.fixture
def lake(experiment):
    return experiment(
        "model=value_iteration", "dataset=frozen_lake", "dataset.options.is_slippery=false", "dataset.val_episodes=2"
    )


def test_evaluate_and_predict(lake, workplace, capsys):
    assert lake.metrics["test/return"] == 1.0 and lake.metrics["test/episode_length"] == 6
    assert (lake.directory / "figures" / "policy.png").is_file()
    film = Image.open(lake.directory / "figures" / "episode.gif")
    assert film.n_frames == 7 and film.info["comment"] == b"return 1.000 in 6 steps"
    for run in (str(lake.directory), lake.run_id):
        assert evaluate.run([run, "--episodes", "3"]) == 0
        assert capsys.readouterr().out.split() == [
            "test/return",
            "1.000",
            "test/return_std",
            "0",
            "test/episode_length",
            "6.000",
        ]
    assert predict.run([lake.run_id, "--episodes", "2", "--output", str(workplace / "played")]) == 0
    rows = list(csv.DictReader(open(workplace / "played" / "transitions.csv")))
    assert len(rows) == 12 and {row["episode"] for row in rows} == {"0", "1"}
    assert rows[5]["next_state"] == "15" and rows[5]["terminated"] == "True" and float(rows[5]["reward"]) == 1
    assert rows[1]["state"] == rows[0]["next_state"]
    assert Image.open(workplace / "played" / "episode.gif").n_frames == 7


@pytest.mark.parametrize(
    "model",
    [
        ["model=value_iteration"],
        ["model=dqn", "dataset=cartpole", "model.steps_per_epoch=256", "dataset.test_episodes=2"],
    ],
)
def test_actions_for_rows(experiment, workplace, model):
    """What was done in an episode is what the model answers for its observations: from a file, and through MLflow."""
    import mlflow

    from mlrun.tracking.store import tracking_uri

    done = experiment(*model, "trainer.max_epochs=1", "dataset.val_episodes=2")
    predict.run([str(done.directory), "--episodes", "1", "--output", "played"])
    rows = list(csv.DictReader(open("played/transitions.csv")))
    taken = [int(row["action"]) for row in rows]
    assert predict.run([str(done.directory), "played/transitions.csv", "--output", "actions.csv"]) == 0
    assert [int(row["prediction"]) for row in csv.DictReader(open("actions.csv"))] == taken
    names = [name for name in rows[0] if name == "state" or name.startswith("observation_")]
    observed = np.array([[float(row[name]) for name in names] for row in rows])
    asked = observed[:, 0].astype(int) if names == ["state"] else observed.astype(np.float32)
    mlflow.set_tracking_uri(tracking_uri())  # an earlier test may have set another store
    served = mlflow.pyfunc.load_model(f"runs:/{done.run_id}/model")
    assert list(served.predict(asked)) == taken


def test_figures_of_action_values(experiment):
    """On a grid, over two numbers, and as a table of states."""
    for dataset, figure in {"frozen_lake": "policy", "mountain_car": "values", "taxi": "q_table"}.items():
        quick = ["model.steps_per_epoch=256", "dataset.val_episodes=1", "dataset.test_episodes=2"]
        done = experiment("model=dqn", f"dataset={dataset}", "trainer.max_epochs=1", *quick)
        drawn = {path.stem for path in (done.directory / "figures").glob("*.*")}
        assert {figure, "test_returns", "episode"} <= drawn


def test_what_cannot_be_asked(lake):
    with pytest.raises(UserError, match="--episodes 0: give at least 1"):
        predict.run([str(lake.directory), "--episodes", "0"])


def test_evaluate_with_other_episodes(experiment, capsys):
    lake = experiment("model=value_iteration", "dataset.val_episodes=2", "dataset.test_episodes=200")
    assert evaluate.run([str(lake.directory)]) == 0
    same = capsys.readouterr().out
    assert float(same.split()[1]) == pytest.approx(lake.metrics["test/return"])
    assert evaluate.run([str(lake.directory), "--seed", "7"]) == 0
    assert capsys.readouterr().out != same


def test_a_run_that_is_not_there(workplace):
    with pytest.raises(UserError, match="neither a run directory nor a finished run.*; an id has 32 characters"):
        evaluate.run(["0123456789abcdef"])
    (workplace / "empty").mkdir()
    with pytest.raises(UserError, match="empty is not the directory of a run: it has no config/config.yaml"):
        predict.run(["empty"])
    (workplace / "outputs" / "first").mkdir(parents=True)
    with pytest.raises(UserError, match="did you mean 'outputs/first'"):
        evaluate.run(["first"])
    record = {"status": "RUNNING"}
    (workplace / "outputs" / "first" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="outputs/first: this run did not finish: it has no configuration"):
        evaluate.run(["outputs/first"])
    record = {"status": "FINISHED", "identity": "x"}
    (workplace / "outputs" / "first" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="outputs is not the directory of a run.*did you mean 'outputs/first'"):
        evaluate.run(["outputs"])


def test_a_table_does_not_play(experiment):
    iris = experiment("model=naive_bayes", "dataset=iris")
    assert evaluate.run([str(iris.directory)]) == 0
    with pytest.raises(UserError, match="no input given"):
        predict.run([str(iris.directory)])
    with pytest.raises(UserError, match="--episodes and --seed are for environments"):
        evaluate.run([str(iris.directory), "--episodes", "3"])


def test_without_pygame_there_is_no_film_but_a_result(experiment, monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "pygame", None)
    lake = experiment("model=value_iteration", "dataset.val_episodes=2")
    assert (
        not (lake.directory / "figures" / "episode.gif").exists()
        and (lake.directory / "figures" / "policy.png").is_file()
    )
    assert (
        "no film of an episode" in (lake.directory / "mlrun.log").read_text()
        if (lake.directory / "mlrun.log").is_file()
        else caplog.text
    )
