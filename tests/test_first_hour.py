"""The commands of a newcomer's first hour, as the documentation shows them, one after the other in one directory."""

from __future__ import annotations

import csv
import os
import random
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

HOUSES = [f"{rooms},{city},{1000 * rooms + extra}" for rooms, city, extra in
          ((random.Random(at).randint(1, 9), random.Random(at).choice(["Kiel", "Bremen"]), at) for at in range(90))]  # fmt: skip
RUN = "{run}"  # replaced by the directory of the newest run


COMMANDS = (  # command, what it must print
    ("--help", "Find your way"),
    ("list", "Models"),
    ("list model", "random_forest"),
    ("list optim", "adamw"),
    ("list --fits houses.csv --target price", "regression"),
    ("show model=lenet", "model.network.channels"),
    ("show optim=adam", "0.001"),
    ("model=svm --help", "model.classifier.C"),
    ("--cfg job model=svm", "classifier:"),
    ("", "mlp on digits: FINISHED"),
    (f"evaluate {RUN} --part val", "accuracy"),
    (f"errors {RUN}", "classes.csv"),
    (f"diagnose {RUN}", "dev (val)"),
    (f"resume {RUN} trainer.max_epochs=22", "epoch 22/22"),
    ("help leaderboard", "--by"),
    ("model=random_forest dataset=diabetes", "test/rmse"),
    ("optim=sgd optim.lr=0.1 scheduler=cosine trainer.max_epochs=5", "epoch 5/5"),
    ("--cfg job model=svm trainer=kfold trainer.folds=10", "folds: 10"),
    ("-m model=svm,knn dataset=iris seed=1,2", "4 finished"),
    ("leaderboard", "sorted by val/accuracy, larger is better"),
    ("leaderboard --by model --format md", "| svm |"),
    ("model=gradient_boosting dataset=csv dataset.path=houses.csv dataset.target=price", "houses.csv: price"),
    (f"predict {RUN} houses.csv --output prices.csv", ""),
    ("sync", "nothing to upload"),
    ("completion bash", "complete -o default"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first_hour")
    (folder / "houses.csv").write_text("rooms,city,price\n" + "\n".join(HOUSES) + "\n")
    return folder


def newest_run(folder: Path) -> str:
    return str(max(folder.glob("outputs/*/run.json"), key=lambda path: path.stat().st_mtime).parent.relative_to(folder))


@pytest.mark.parametrize("command, expected", COMMANDS, ids=[command or "mlrun" for command, _ in COMMANDS])
def test_first_hour(command, expected, place, starter):
    if RUN in command:
        command = command.replace(RUN, newest_run(place))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = starter.run(command.split(), place, environment, 120)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout and "Traceback" not in done.stderr
    if command.startswith("predict"):
        assert len(list(csv.DictReader((place / "prices.csv").open()))) == len(HOUSES)


def test_a_typing_error_is_answered(place, starter):
    done = starter.run(
        ["model=mlp", "optim.lrr=1", "trainer.max_epochs=0"], place, {**os.environ, "PYTHONPATH": str(REPOSITORY)}, 60
    )
    assert done.returncode == 2
    assert "did you mean 'optim.lr'?" in done.stderr and "must be an integer >= 1" in done.stderr
