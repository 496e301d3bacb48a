"""`mlrun evaluate`, `mlrun diagnose` and `mlrun errors` on runs whose faults are known."""

from __future__ import annotations

import csv
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from mlrun.cli import dispatch
from mlrun.data.predictions import LabelPredictions, ValuePredictions
from mlrun.errors import UserError
from mlrun.evaluation.diagnosis import diagnose
from mlrun.evaluation.error_analysis import likely_mislabelled
from mlrun.tracking.run_directory import read_record, update_record
from mlrun.tracking.store import open_client
from tests.practice.conftest import ESTIMATOR, IMAGES, NETWORK


@pytest.mark.parametrize("overrides", [NETWORK, ESTIMATOR])
def test_evaluate_gives_the_runs_own_numbers(finished, overrides, capsys):
    import json

    run = finished(*overrides)
    assert dispatch(["evaluate", str(run)]) == 0
    said = dict(line.split() for line in capsys.readouterr().out.splitlines())
    own = json.loads((run / "metrics.json").read_text())
    assert all(float(said[name]) == pytest.approx(own[name], rel=1e-3) for name in own if name.startswith("test/"))
    assert dispatch(["evaluate", str(run), "--part", "val"]) == 0
    assert float(dict(line.split() for line in capsys.readouterr().out.splitlines())["val/accuracy"]) == pytest.approx(
        own["val/accuracy"], rel=1e-3
    )


def test_evaluate_on_another_file_is_recorded_below_the_run(finished, tmp_path, capsys):
    """A file with fewer classes in another order: the run's own normalization and order of classes hold."""
    import json

    from mlflow.tracking import MlflowClient

    table = pd.DataFrame({"a": np.tile(np.arange(20.0), 15), "b": np.repeat(np.arange(15.0), 20)})
    table["kind"] = np.select([table["a"] > 12, table["b"] > 8], ["left", "middle"], "right")
    table.to_csv(finished.folder / "kinds.csv", index=False)
    run = finished("model=decision_tree", "dataset=csv", "dataset.path=kinds.csv")
    other = table[table["kind"] != "left"].sample(frac=1, random_state=0)
    other.assign(a=other["a"] + 0.1).to_csv(tmp_path / "other file.csv", index=False)
    assert dispatch(["evaluate", str(run), f"dataset.path={tmp_path / 'other file.csv'}"]) == 0
    said = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert float(said["test/accuracy"]) > 0.97
    run_id = json.loads((run / "run.json").read_text())["run_id"]
    client = MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    below = [
        one
        for one in client.search_runs([client.get_run(run_id).info.experiment_id])
        if one.data.tags.get("mlflow.parentRunId") == run_id
    ]
    assert [one.data.tags["mlrun.kind"] for one in below] == ["evaluation"] and below[0].data.params["rows"] == str(
        len(other)
    )
    assert {"figures/confusion_matrix.png"} <= {
        item.path for item in client.list_artifacts(below[0].info.run_id, "figures")
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--part", "train_dev"], "no such rows"),
        (["dataset=wine"], "rows have another form"),
        (["dataset=diabetes"], "its problem is regression"),
        (["dataset=irsi"], "did you mean 'iris'"),
        (["optim.lr=1"], "only the data can be replaced"),
        (["dataset.pth=x"], "no such setting"),
    ],
)
def test_evaluate_refuses(finished, given, said):
    with pytest.raises(UserError, match=said):
        dispatch(["evaluate", str(finished(*NETWORK)), *given])


# --- diagnose --------------------------------------------------------------------------------------------------------


def _case(folder, generator, name):
    """Two files and the model that shows the case. Training data are `path`, what counts is `dev_path`."""

    def table(count, shift=0.0, noise=0.0, curved=False):
        x = generator.uniform(-1, 1, (count, 2))
        y = (x[:, 0] * x[:, 1] > 0) if curved else (x[:, 0] + x[:, 1] > 0)
        y = y ^ (generator.random(count) < noise)
        frame = pd.DataFrame(x, columns=["a", "b"])
        frame["a"] += shift
        return frame.assign(label=np.where(y, "yes", "no"))

    tree, linear = "decision_tree", "logistic_regression"
    model, train, dev = {
        "variance": (tree, dict(noise=0.15), dict(noise=0.15)),
        "data mismatch": (linear, {}, dict(shift=0.5)),
        "avoidable bias": (linear, dict(curved=True), dict(curved=True)),
        "avoidable bias, data mismatch": (linear, dict(noise=0.12), dict(noise=0.12, shift=0.9)),
    }[name]
    for file, settings in (("train", train), ("dev", dev)):
        table(3000, **settings).to_csv(folder / f"{name} {file}.csv", index=False)
    limit = ["model.classifier.max_depth=null"] if model == tree else []
    return [
        f"model={model}",
        *limit,
        "dataset=csv",
        f"dataset.path='{name} train.csv'",
        f"dataset.dev_path='{name} dev.csv'",
        "dataset.split.train_dev=0.2",
    ]


@pytest.mark.parametrize("case", ["variance", "data mismatch", "avoidable bias", "avoidable bias, data mismatch"])
def test_the_textbook_cases(finished, case, capsys):
    run = finished(*_case(finished.folder, np.random.default_rng(1), case))
    capsys.readouterr()
    assert dispatch(["diagnose", str(run), "--human", "0.01"]) == 0
    said = capsys.readouterr().out
    assert ", ".join(re.findall(r"\* (.+)$", said, re.M)) == case, said
    assert all(f"{name}: try " in said for name in case.split(", "))
    assert len(re.findall(r"^(human|train|train-dev|dev \(val\)|test) ", said, re.M)) == 5


def test_gaps_within_chance_do_not_matter():
    rows = {"train": 1000, "train_dev": 100, "val": 100, "test": 100}
    gaps = diagnose({"train": 0.02, "train_dev": 0.04, "val": 0.03, "test": 0.05}, rows, human=0.015)
    assert not any(gap.matters for gap in gaps)
    gaps = diagnose({"train": 0.02, "train_dev": 0.02, "val": 0.02, "test": 0.2}, rows, human=0.01)
    assert [gap.name for gap in gaps if gap.matters] == ["overfitting to the dev set"]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_wrong_labels_and_the_bad_slice_are_found(finished, capsys):
    generator = np.random.default_rng(2)
    table = pd.DataFrame(
        {"size": generator.normal(size=1500), "shop": generator.choice(["north", "south", "east"], 1500)}
    )
    label = table["size"] > 0
    flipped = generator.random(1500) < 0.03
    chance = (table["shop"] == "east") & (generator.random(1500) < 0.3)
    table["label"] = np.where(label ^ flipped ^ chance, "big", "small")
    table.to_csv(finished.folder / "shops.csv", index=False)
    run = finished(
        "model=logistic_regression",
        "dataset=csv",
        "dataset.path=shops.csv",
        "dataset.drop=[shop]",
        "dataset.split={train:0.4,val:0.1,test:0.5}",
    )
    assert dispatch(["errors", str(run), "--by", "size,shop"]) == 0
    said = capsys.readouterr().out
    read = {
        name: list(csv.DictReader(open(run / "errors" / f"{name}.csv", newline="")))
        for name in ("mistakes", "mislabelled", "classes", "slices")
    }
    assert (read["slices"][0]["column"], read["slices"][0]["values"]) == ("shop", "east") and float(
        read["slices"][0]["standard errors above all"]
    ) > 3
    assert sum(" to " in row["values"] for row in read["slices"] if row["column"] == "size") == 4  # quartiles
    wrong = flipped ^ chance
    suspects = [int(row["row"]) for row in read["mislabelled"]]
    assert len(suspects) > 30 and np.mean(wrong[suspects]) > 0.9
    sure = [float(row["probability of predicted"]) for row in read["mistakes"]]
    assert sure == sorted(sure, reverse=True) and {row["class"] for row in read["classes"]} == {"big", "small"}
    assert "most confident mistakes" in said and "slices, the worst first" in said


def test_booleans_and_blanks_are_shown_as_such(finished):
    generator = np.random.default_rng(3)
    garden = generator.choice(["true", "false", ""], 300)
    sold = np.where(generator.random(300) < 0.5, "yes, fast", "no")
    pd.DataFrame({"garden": garden, "sold": sold}).to_csv(finished.folder / "flats.csv", index=False)
    run = finished("model=logistic_regression", "dataset=csv", "dataset.path=flats.csv")
    for by in ([], ["--by", "garden"]):
        assert dispatch(["errors", str(run), *by]) == 0
        for name, column in (("mistakes", "garden"), ("slices", "values")):
            with open(run / "errors" / f"{name}.csv", newline="") as file:
                values = {row[column] for row in csv.DictReader(file)}
            assert values == {"True", "False", "" if name == "mistakes" else "missing"}


def test_errors_of_images_are_drawn(finished, capsys):
    run = finished(*IMAGES)
    assert dispatch(["errors", str(run), "--part", "val"]) == 0
    assert (run / "errors" / "mistakes.png").is_file() and (run / "errors" / "mistakes.csv").is_file()


def test_mislabelled_needs_confidence_in_another_class():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95], [0.45, 0.55]])
    y = np.array([0, 0, 1, 1, 0, 0])
    assert likely_mislabelled(LabelPredictions([0, 1], shares.argmax(1), shares), y).tolist() == [4]
    likelier = np.array([[0.99, 0.01], [0.52, 0.48], [0.6, 0.4]])  # the second counts as 1, but 0 is likelier
    assert not len(likely_mislabelled(LabelPredictions([0, 1], np.zeros(3, int), likelier), np.array([0, 0, 1])))
    values = np.r_[np.sin(np.arange(99.0)), 50.0]
    assert likely_mislabelled(ValuePredictions(np.zeros(100)), values).tolist() == [99]


def test_an_analysis_from_another_directory_is_recorded_with_the_run(finished, tmp_path, monkeypatch, capsys):
    run = finished(*ESTIMATOR)
    monkeypatch.chdir(tmp_path)
    assert dispatch(["diagnose", str(run)]) == 0
    client = open_client(f"sqlite:///{finished.folder / 'mlflow.db'}")
    kept = f"tags.`mlflow.parentRunId` = '{read_record(run)['run_id']}' and attributes.run_name = 'diagnose'"
    experiments = [one.experiment_id for one in client.search_experiments()]
    assert client.search_runs(experiments, kept) and not list(tmp_path.iterdir())
    shutil.copytree(run, tmp_path / "copy")
    update_record("copy", tracking_uri=f"sqlite:///{tmp_path / 'gone.db'}")
    capsys.readouterr()
    assert dispatch(["diagnose", "copy"]) == 0
    assert "not recorded in MLflow: " in capsys.readouterr().err
    with pytest.raises(UserError, match="mlflow.db does not exist"):
        dispatch(["diagnose", "0123456789abcdef0123456789abcdef"])
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
