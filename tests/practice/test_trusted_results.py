"""What a run reports can be trusted at a glance: the right epoch, the baseline beside the result, no run where nothing began."""

from __future__ import annotations

import io

import numpy as np
import pytest

from mlrun.cli import dispatch
from mlrun.errors import DataError
from mlrun.evaluation.diagnosis import diagnose
from mlrun.report import terminal
from mlrun.sweep.leaderboard import leaderboard
from mlrun.tracking.read import find_runs, metric_histories, read_run
from tests.practice.conftest import NETWORK


def steps(run_id, metric):
    return set(metric_histories([run_id], metric)[run_id])


def test_with_the_last_epoch_kept_its_values_are_at_its_own_step(experiment):
    result = experiment("model=mlp", "dataset=iris", "trainer.keep=last", "trainer.max_epochs=3")
    assert steps(result.run_id, "val/accuracy") == {1, 2, 3} and steps(result.run_id, "test/accuracy") == {3}
    assert "best_epoch" not in read_run(result.run_id).metrics


def test_the_best_epoch_is_recorded_and_ranked(experiment):
    growing = ("scheduler=exponential", "scheduler.gamma=4")  # the learning rate of the last epochs ruins the weights
    result = experiment("model=mlp", "dataset=iris", "trainer.max_epochs=12", "optim.lr=0.01", *growing)
    history = metric_histories([result.run_id], "val/accuracy")[result.run_id]
    stored = read_run(result.run_id).metrics
    assert result.best_epoch < 12 and history[12] < history[result.best_epoch]  # else this test shows nothing
    assert stored["best_epoch"] == result.best_epoch
    assert stored["best_val/accuracy"] == result.metrics["val/accuracy"] == history[result.best_epoch]
    (row,) = leaderboard(find_runs("mlrun"), "val/accuracy").rows
    assert row.values == [history[result.best_epoch]]


def noise(path, positives=0.14, rows=300):
    """A table whose columns say nothing about its target."""
    random = np.random.default_rng(0)
    sold = np.where(random.random(rows) < positives, "yes", "no")
    lines = [f"{a:.3f},{b:.3f},{one}" for (a, b), one in zip(random.normal(size=(rows, 2)), sold)]
    path.write_text("a,b,sold\n" + "\n".join(lines))
    return f"dataset.path={path}"


@pytest.mark.parametrize("model", ["logistic_regression", "mlp"])
def test_a_classifier_that_only_knows_the_majority_says_so(experiment, workplace, capsys, model):
    result = experiment(f"model={model}", "dataset=csv", noise(workplace / "a.csv"), "trainer.max_epochs=2")
    for part in ("val", "test"):
        found = {name.partition("/")[2]: value for name, value in result.metrics.items() if name.startswith(part)}
        assert 0.8 < found["baseline_accuracy"] < 0.95
        assert {"average_precision", "f1_macro", "roc_auc", "recall_no", "recall_yes"} <= set(found)
        if model == "logistic_regression":
            assert found["accuracy"] == found["baseline_accuracy"]
            assert found["recall_no"] == 1 and found["recall_yes"] == 0
    assert result.metrics["test/accuracy"] <= result.metrics["test/baseline_accuracy"]
    said = capsys.readouterr().err
    assert (
        "is not better than always predicting the most frequent class" in said and "model.class_weight=balanced" in said
    )
    assert read_run(result.run_id).tags["beats_baseline"] == "false"


def test_a_regression_is_compared_with_the_mean(experiment, workplace, capsys):
    random = np.random.default_rng(0)
    (workplace / "a.csv").write_text("a,y\n" + "\n".join(f"{a:.3f},{y:.3f}" for a, y in random.normal(size=(80, 2))))
    result = experiment("model=decision_tree", "dataset=csv", "dataset.path=a.csv")
    assert result.metrics["test/rmse"] > result.metrics["test/baseline_rmse"] > 0
    assert "is not better than always predicting the mean" in capsys.readouterr().err
    useful = experiment("model=linear_regression", "dataset=diabetes")
    assert useful.metrics["test/rmse"] < useful.metrics["test/baseline_rmse"]
    assert "not better" not in capsys.readouterr().err and "beats_baseline" not in read_run(useful.run_id).tags


@pytest.mark.parametrize("model", ["logistic_regression", "random_forest", "naive_bayes", "mlp"])
def test_balanced_class_weights_find_the_rare_class(experiment, workplace, model):
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 2))
    rare = x[:, 0] + random.normal(size=600) > 1.75  # about one row in ten, with overlap
    lines = "\n".join(f"{a:.3f},{b:.3f},{'ny'[int(one)]}" for (a, b), one in zip(x, rare))
    (workplace / "a.csv").write_text("a,b,y\n" + lines)
    given = [f"model={model}", "dataset=csv", "dataset.path=a.csv", "trainer.max_epochs=10", "optim.lr=0.01"]
    if model == "random_forest":
        given.append("model.classifier.max_depth=3")
    plain, weighted = experiment(*given), experiment(*given, "model.class_weight=balanced")
    assert weighted.metrics["test/recall_y"] > plain.metrics["test/recall_y"] + 0.15


def test_class_weights_where_there_is_nothing_to_weigh(experiment):
    from mlrun.errors import ConfigError

    for given, said in (
        (["model=knn", "dataset=iris"], "KNeighborsClassifier takes no weights"),
        (["model=ridge", "dataset=diabetes"], "the target of diabetes is a value"),
        (["model=vae", "dataset=digits"], "VAE does not minimize a loss of classes"),
        (["model=kmeans", "dataset=iris"], "only a classifier weighs classes; model kmeans is a clusterer"),
        (
            ["model=one_class_svm", "dataset=iris"],
            "only a classifier weighs classes; model one_class_svm is a detector",
        ),
    ):
        with pytest.raises(ConfigError, match=f"model.class_weight.*{said}"):
            experiment(*given, "model.class_weight=balanced")


def test_a_random_split_of_one_file_has_no_mismatch(finished, capsys):
    assert dispatch(["diagnose", str(finished(*NETWORK))]) == 0
    said = capsys.readouterr().out
    assert "variance" in said and "mismatch" not in said
    errors, rows = (
        {"train": 0.02, "train_dev": 0.03, "val": 0.2, "test": 0.2},
        dict.fromkeys(("train", "train_dev", "val", "test"), 1000),
    )
    assert [gap.name for gap in diagnose(errors, rows, one_distribution=True) if gap.matters] == []
    assert [gap.name for gap in diagnose(errors, rows) if gap.matters] == ["data mismatch"]


def test_rejected_data_leave_no_failed_run_in_the_leaderboard(experiment, workplace, capsys):
    experiment("model=naive_bayes", "dataset=iris")
    (workplace / "a.csv").write_text("a,y\n" + "1,u\n2,\n" * 20)
    with pytest.raises(DataError, match="the target 'y' is missing"):
        experiment("model=naive_bayes", "dataset=csv", "dataset.path=a.csv")
    (refused,) = [run for run in find_runs("mlrun") if run.status == "FAILED"]
    assert "never began" in refused.tags["mlrun.rejected"]
    assert dispatch(["leaderboard"]) == 0
    said = capsys.readouterr().out
    assert "iris" in said and "csv" not in said and "*" not in said


def test_a_rejected_run_that_is_resumed_with_better_data_counts(experiment, workplace):
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run
    from mlrun.report import silent

    given = ["model=naive_bayes", "dataset=csv", "dataset.path=a.csv"]
    (workplace / "a.csv").write_text("a,y\n" + "1,u\n2,\n" * 20)
    with pytest.raises(DataError):
        run(compose(given), workplace / "run", given, report=silent)
    (workplace / "a.csv").write_text("a,y\n" + "1,u\n2,v\n" * 20)
    result = run(compose(given), workplace / "run", given, report=silent)
    stored = read_run(result.run_id)
    assert stored.status == "FINISHED" and "mlrun.rejected" not in stored.tags
    assert len(find_runs("mlrun")) == 1 and len(leaderboard(find_runs("mlrun")).rows) == 1


def test_a_run_is_named_after_its_file_and_target(experiment, workplace):
    (workplace / "houses.csv").write_text("area,price\n" + "\n".join(f"{i},{i * 3 + i % 4}.5" for i in range(60)))
    given = ["model=linear_regression", "dataset=csv", "dataset.path=houses.csv"]
    result = experiment(*given)
    stored = read_run(result.run_id)
    assert result.dataset == stored.tags["dataset"] == "houses.csv: price"
    assert stored.name == "linear_regression houses.csv: price seed=1"
    assert read_run(experiment(*given, "tracking.run_name=mine").run_id).name == "mine"


def test_classes_have_their_own_names_and_the_problem_that_was_found(experiment, workplace):
    rows = [f"{i},{('<5', '>5', 'no (way)')[i % 3]}" for i in range(90)]
    (workplace / "answers.csv").write_text("a,answer\n" + "\n".join(rows))
    given = ["model=naive_bayes", "dataset=csv", "dataset.path=answers.csv"]
    for further in ([], ["trainer=kfold", "trainer.folds=2"]):
        result = experiment(*given, *further)
        assert read_run(result.run_id).tags["problem"] == "classification"
        stream = io.StringIO()
        terminal.result_table(result, stream=stream)
        (line,) = (line for line in stream.getvalue().splitlines() if line.startswith("recall"))
        assert all(f"{name} " in line for name in ("<5", ">5", "no (way)")) and "recall_" not in stream.getvalue()


def test_the_summary_says_what_is_used_and_what_is_left_out(workplace, capsys):
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run

    lines = ["id,built,area,flag,note,price,sold"]
    lines += [
        f"{i},{2000 + i % 9}-03-0{i % 9 + 1},{i}.5,{'true' if i % 3 else 'false'},{'ab'[i % 2]},{i * 7},{'yes' if i % 7 == 0 else 'no'}"
        for i in range(70)
    ]
    (workplace / "houses.csv").write_text("\n".join(lines))
    given = ["model=naive_bayes", "dataset=csv", "dataset.path=houses.csv", "dataset.drop=[price]"]
    run(compose(given), workplace / "run", given, report=terminal)
    said = capsys.readouterr().out
    assert "houses.csv: sold, classification, 42 train / 14 val / 14 test" in said
    assert "1 number, 1 boolean, 1 date (year, month, day, weekday, elapsed), 1 category" in said
    assert "sold: no 85.7%, yes 14.3% (positive: yes)" in said
    assert "id (looks like an ID: every value is unique), price (dataset.drop)" in said
    assert "baseline_accuracy" in said and "recall" in said and "recall_yes" not in said
