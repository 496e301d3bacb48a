"""Cross-validation: the same numbers as scikit-learn's, every row predicted once, groups kept together."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import yaml

from mlrun.config.compose import CONF, compose
from mlrun.config.instantiate import build, plain
from mlrun.data.preprocess.text_features import TextFeatures
from mlrun.errors import DataError
from mlrun.experiment.crossvalidation import cross_validate, folds
from mlrun.experiment.run import Result, run
from mlrun.report import silent
from mlrun.tracking.run import NullRun

ESTIMATORS = {
    path.stem: config
    for path in sorted((CONF / "model").glob("*.yaml"))
    for config in [yaml.safe_load(path.read_text(encoding="utf-8"))]
}


def unrecorded(monkeypatch, tmp_path, *overrides):
    """Cross-validates without MLflow, in this process."""
    monkeypatch.setattr("mlrun.experiment.crossvalidation.Run", lambda *arguments, **options: NullRun())
    monkeypatch.setattr("mlrun.experiment.crossvalidation._draw", lambda *arguments: None)
    cfg = plain(compose(["trainer=kfold", *overrides]))
    data = build(cfg["dataset"], {"seed": cfg["seed"], "data_dir": None, "name": cfg["dataset"]["name"]}, "dataset")
    data.prepare()
    result = Result(cfg["model"]["name"], cfg["dataset"]["name"], tmp_path)
    cross_validate(cfg, data, result, NullRun(), silent)
    return cfg, data, result


@pytest.mark.parametrize(
    "name", [name for name, config in ESTIMATORS.items() if {"classifier", "regressor"} & set(config)]
)
def test_equals_cross_val_score(name, monkeypatch, tmp_path):
    from sklearn.datasets import load_diabetes, load_iris
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    classifies = "classifier" in ESTIMATORS[name]
    cfg, _, result = unrecorded(
        monkeypatch, tmp_path, f"model={name}", f"dataset={'iris' if classifies else 'diabetes'}", "seed=3"
    )
    x, y = (load_iris if classifies else load_diabetes)(return_X_y=True)
    steps = [
        build(cfg["model"].get("preprocessing")),
        build(cfg["model"]["classifier" if classifies else "regressor"], {"seed": 3}),
    ]
    splitter = (StratifiedKFold if classifies else KFold)(5, shuffle=True, random_state=3)
    scores = cross_val_score(
        make_pipeline(*[step for step in steps if step is not None]),
        x,
        y,
        cv=splitter,
        scoring=None if classifies else "r2",
    )
    metric = "accuracy" if classifies else "r2"
    assert result.metrics[f"cv/{metric}"] == pytest.approx(scores.mean(), abs=1e-9)
    assert result.metrics[f"cv_std/{metric}"] == pytest.approx(scores.std(), abs=1e-9)


def test_texts_equal_cross_val_score(monkeypatch, tmp_path):
    """The vocabulary is that of the training folds."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    cfg, data, result = unrecorded(monkeypatch, tmp_path, "model=multinomial_nb", "dataset=language_id", "seed=3")
    features = TextFeatures(**cfg["dataset"]["features"])
    pipeline = make_pipeline(features, build(cfg["model"]["classifier"], {"seed": 3}))
    x, y = (data.content.columns[name] for name in ("text", "label"))
    scores = cross_val_score(pipeline, x, y, cv=StratifiedKFold(5, shuffle=True, random_state=3))
    assert 0.5 < scores.mean() < 1 and scores.std() > 0
    assert result.metrics["cv/accuracy"] == pytest.approx(scores.mean(), abs=1e-9)
    assert result.metrics["cv_std/accuracy"] == pytest.approx(scores.std(), abs=1e-9)


def test_text_networks_are_folded(monkeypatch, tmp_path):
    _, data, result = unrecorded(
        monkeypatch, tmp_path, "model=text_bag", "dataset=language_id", "trainer.folds=2", "trainer.max_epochs=3"
    )
    assert result.metrics["cv/accuracy"] > 3 / len(data.target.classes)
    with open(tmp_path / "out_of_fold.csv", newline="") as file:
        assert sorted(int(row["row"]) for row in csv.DictReader(file)) == list(range(len(data.content)))


def folded(monkeypatch, tmp_path, lines, *overrides):
    """The cross-validation of naive Bayes on a table."""
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    given = ("model=naive_bayes", "dataset=csv", f"dataset.path={tmp_path / 'a.csv'}", *overrides)
    return unrecorded(monkeypatch, tmp_path, *given)[2]


def test_the_positive_class_is_the_same_in_all_folds(monkeypatch, tmp_path):
    """50 and 51 rows: in one fold the classes are equally frequent among the training rows."""
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.naive_bayes import GaussianNB

    y = np.array(["a"] * 50 + ["b"] * 51)
    x = np.random.default_rng(0).normal(size=101).round(3) + (y == "b")
    result = folded(monkeypatch, tmp_path, ["x,y", *(f"{one:.3f},{label}" for one, label in zip(x, y))], "seed=1")
    scores = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=1).split(x, y):
        chances = GaussianNB().fit(x[train, None], y[train]).predict_proba(x[test, None])
        scores.append(average_precision_score(y[test] == "a", chances[:, 0]))
    assert result.metrics["cv/average_precision"] == pytest.approx(np.mean(scores), abs=1e-6)


def test_rows_have_the_numbers_of_the_file(monkeypatch, tmp_path):
    lines = ["x,y", *(f"{i},{'' if i % 3 == 0 else 'ab'[i % 2]}" for i in range(60))]
    folded(monkeypatch, tmp_path, lines, "dataset.drop_missing_target=true")
    with open(tmp_path / "out_of_fold.csv", newline="") as file:
        rows = {int(row["row"]): row["true"] for row in csv.DictReader(file)}
    assert rows == {i: "ab"[i % 2] for i in range(60) if i % 3}


def test_folds_that_lack_a_class_do_not_count_where_it_is_needed(monkeypatch, tmp_path, capsys):
    lines = ["x,y", *(f"{i},{'rare' if i in (3, 30) else 'usual'}" for i in range(60))]
    result = folded(monkeypatch, tmp_path, lines, "dataset.split.stratify=false", "trainer.folds=6")
    with open(tmp_path / "folds.json") as file:
        measured = np.array([fold["recall_rare"] for fold in json.load(file)])
    assert 0 < np.isfinite(measured).sum() < 6
    assert result.metrics["cv/recall_rare"] == np.nanmean(measured)
    assert "cv/recall_rare: the mean over" in capsys.readouterr().err


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A network's cross-validation as a user runs it, recorded."""
    folder = tmp_path_factory.mktemp("kfold")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        overrides = [
            "model=mlp",
            "dataset=iris",
            "trainer=kfold",
            "trainer.folds=3",
            "trainer.repeats=2",
            "trainer.max_epochs=20",
            "optim.lr=0.01",
        ]
        yield run(compose(overrides), folder / "run", overrides, report=silent)


def test_a_network_predicts_every_row_without_having_seen_it(recorded):
    with open(recorded.directory / "out_of_fold.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 * 150
    for repeat in "12":
        assert sorted(int(row["row"]) for row in table if row["repeat"] == repeat) == list(range(150))
    right = np.mean([row["true"] == row["predicted"] for row in table])
    assert right == pytest.approx(recorded.metrics["cv/accuracy"]) and right > 0.65  # by chance 0.33
    assert recorded.objective == recorded.metrics["cv/accuracy"]
    assert all(abs(sum(float(row[f"probability_{label}"]) for label in range(3)) - 1) < 1e-4 for row in table)


def test_folds_are_runs_of_their_own(recorded):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{recorded.directory.parent / 'mlflow.db'}")
    parent = client.get_run(recorded.run_id)
    found = [
        one
        for one in client.search_runs([parent.info.experiment_id])
        if one.data.tags.get("mlflow.parentRunId") == recorded.run_id
    ]
    assert len(found) == 6 and all(one.info.status == "FINISHED" and one.outputs.model_outputs for one in found)
    scores = [one.data.metrics["test/accuracy"] for one in found]
    assert parent.data.metrics["cv/accuracy"] == pytest.approx(np.mean(scores))
    assert parent.data.metrics["cv_std/accuracy"] == pytest.approx(np.std(scores))
    files = {item.path for folder in (None, "figures") for item in client.list_artifacts(recorded.run_id, folder)}
    assert {"out_of_fold.csv", "figures/confusion_matrix.png"} <= files
    from mlrun.sweep.leaderboard import leaderboard
    from mlrun.tracking.read import find_runs

    board = leaderboard(find_runs("mlrun"))
    assert board.metric == "cv/accuracy" and [row.n for row in board.rows] == [1]


def test_groups_stay_together(monkeypatch, tmp_path):
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 8)
    level = generator.permutation(30)[
        patient
    ]  # a patient's own level: known from other rows of that patient, not from others
    y = np.where(np.repeat(generator.integers(0, 2, 30), 8), "ill", "well")
    rows = [f"p{who},{value + generator.normal(0, 0.01)},{label}" for who, value, label in zip(patient, level, y)]
    table = tmp_path / "patients.csv"
    table.write_text("patient,level,state\n" + "\n".join(rows))
    given = [
        "model=knn",
        "model.classifier.n_neighbors=1",
        "dataset=csv",
        f"dataset.path={table}",
        "dataset.drop=[patient]",
    ]
    apart = unrecorded(monkeypatch, tmp_path, *given, "trainer.group=patient")[2].metrics["cv/accuracy"]
    mixed = unrecorded(monkeypatch, tmp_path, *given)[2].metrics["cv/accuracy"]
    assert mixed > 0.95 and apart < 0.75  # neighbours of the same patient gave the answer away
    for train, held_out in folds(240, 5, 2, 1, (y == "ill").astype(int), patient):
        assert not set(patient[train]) & set(patient[held_out])


def test_pairs_of_the_same_source_stay_together(monkeypatch, tmp_path):
    """Each of 20 sources has three targets; the test part that comes with the data is left alone."""
    from mlrun.data.datasets.pairs import Pairs

    (tmp_path / "pairs").write_text("".join(f"word {row // 3}\tanswer {row}\n" for row in range(60)))
    (tmp_path / "test").write_text("other\tothers\n" * 5)
    parts = []
    plain_view = Pairs.with_parts
    monkeypatch.setattr(Pairs, "with_parts", lambda self, given: (parts.append(given), plain_view(self, given))[1])
    given = ["dataset=parallel_text", f"dataset.path={tmp_path / 'pairs'}", f"dataset.test_path={tmp_path / 'test'}"]
    small = ["model=seq2seq", "model.network.hidden=4", "model.network.embedding=4", "trainer.max_epochs=1"]
    _, data, result = unrecorded(monkeypatch, tmp_path, *small, *given, "dataset.split.val=4", "trainer.folds=2")
    assert len(parts) == 2
    for fold in parts:
        sources = [set(data.column("source")[rows]) for rows in fold.values()]
        assert sum(map(len, sources)) == 20 and len(set.union(*sources)) == 20
    with open(tmp_path / "out_of_fold.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert sorted(int(row["row"]) for row in table) == list(range(0, 60, 3))  # the first pair of each source
    assert "cv/bleu" in result.metrics


def test_questions_about_the_same_text_stay_together(tmp_path):
    from mlrun.data.datasets.squad import Squad
    from mlrun.experiment.crossvalidation import _groups, _pool

    asked = [{"id": str(at), "question": "what?", "answers": [{"text": "a", "answer_start": 0}]} for at in range(4)]
    texts = [{"context": f"a text {at}", "qas": asked} for at in range(10)]
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"paragraphs": texts}]}))
    data = Squad(str(tmp_path / "a.json"), "question_answering", "squad", 1)
    rows, classes = _pool(data)
    groups = _groups(data, rows, None)
    for train, held_out in folds(len(rows), 3, 1, 1, classes, groups):
        assert not set(groups[train]) & set(groups[held_out])
    assert len(rows) == 40 and len(set(groups)) == 10


def test_a_group_that_is_no_column(monkeypatch, tmp_path):
    (tmp_path / "rows.csv").write_text("a,patient,y\n" + "1,1,u\n2,2,v\n" * 20)
    given = ["model=knn", "dataset=csv", f"dataset.path='{tmp_path / 'rows.csv'}'", "trainer=kfold"]
    with pytest.raises(DataError, match="trainer.group: .* no column 'patien'; did you mean patient"):
        unrecorded(monkeypatch, tmp_path, *given, "trainer.group=patien")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(count=4, number=5), "only 4 rows"),
        (dict(count=10, number=5, classes=np.array([0] * 8 + [1] * 2)), "smallest class has 2 rows"),
        (dict(count=10, number=5, groups=np.zeros(10)), "only 1 groups"),
    ],
)
def test_too_few_rows(settings, said):
    with pytest.raises(DataError, match=said):
        list(folds(**settings, repeats=1, seed=1))


def test_control_is_refused(mlrun):
    done = mlrun("model=q_learning", "trainer=kfold")
    assert done.returncode == 2 and "no rows that could be folded" in done.stderr and "Traceback" not in done.stderr
