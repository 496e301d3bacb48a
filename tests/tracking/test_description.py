"""What MLflow shows of a run: its description, names, metrics and parameters."""

from __future__ import annotations

from mlrun.tracking.read import find_runs, read_run
from mlrun.tracking.store import open_client, tracking_uri


def test_a_run_explains_itself(experiment):
    result = experiment("model=random_forest", "dataset=iris", "model.classifier.n_estimators=10")
    stored = read_run(result.run_id)
    note = stored.tags["mlflow.note.content"]
    for part in (
        "`mlrun model=random_forest dataset=iris",
        "Random forest:",
        "| `accuracy` |",
        "confusion_matrix",
        "directory",
    ):
        assert part in note, note
    assert stored.tags["family"] == "trees and ensembles"
    assert stored.params["model.classifier.n_estimators"] == "10"
    assert not [
        key for key in stored.params if key.rpartition(".")[2] in ("fits", "facts", "evaluators", "figures", "family")
    ]
    assert "None" not in stored.params.values()
    internal = ("model._target_", "dataset._target_", "model.freeze", "model.weights_policy", "dataset.num_workers")
    assert not [key for key in stored.params if key in internal or key.startswith("model.regressor")]
    client = open_client(tracking_uri())
    (output,) = client.get_run(result.run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert model.tags["run"] == stored.name and model.tags["dataset"] == "iris"


def test_durations_sort_behind_results_and_parameters_are_a_metric(experiment):
    result = experiment("model=ridge")
    metrics = read_run(result.run_id).metrics
    assert metrics["parameters"] == result.parameters == 11
    assert sorted(metrics)[-1].startswith("wall/") and not [name for name in metrics if name.startswith("seconds/")]


def test_jobs_of_a_sweep_are_named_by_what_differs(mlrun):
    done = mlrun("-m", "model=ridge,lasso", "seed=1,2", "dataset.batch_size=8")
    assert done.returncode == 0, done.stderr
    runs = find_runs("mlrun")
    names = {run.name for run in runs if "mlrun.kind" not in run.tags}
    assert names == {f"model={model} seed={seed}" for model in ("ridge", "lasso") for seed in (1, 2)}
    (note,) = (run.tags["mlflow.note.content"] for run in runs if run.tags.get("mlrun.kind") == "sweep")
    assert "`mlrun -m model=ridge,lasso seed=1,2" in note and "4 jobs: 4 finished" in note
    assert "| job | settings | val/rmse | time |" in note and note.count("model=lasso seed=") == 2


def test_every_fold_and_model_of_a_table_is_described(experiment, workplace):
    (workplace / "sizes.csv").write_text("größe,ok\n" + "\n".join(f"{i},{'yn'[i % 2]}" for i in range(40)))
    given = ["dataset=csv", "dataset.path=sizes.csv", "dataset.target='ok'", "trainer=kfold", "trainer.folds=2"]
    result = experiment("model=decision_tree", *given)
    stored = read_run(result.run_id)
    assert "\"dataset.target='ok'\"" in stored.tags["command"]  # as a person would write it
    assert "model.classifier.max_depth" in stored.params or "model.classifier._target_" in stored.params
    folds = [run for run in find_runs("mlrun") if run.tags.get("mlrun.kind") == "fold"]
    assert sorted(run.tags["mlflow.note.content"].splitlines()[2] for run in folds) == [
        f"Fold {number} of 2: tested on 20 rows that it was not trained on." for number in (1, 2)
    ]
    client = open_client(tracking_uri())
    (output,) = client.get_run(folds[0].run_id).outputs.model_outputs
    assert "| `größe` | number |" in client.get_logged_model(output.model_id).tags["mlflow.note.content"]
    (used,) = client.get_run(result.run_id).inputs.dataset_inputs
    assert used.dataset.name == "sizes.csv: ok"
