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
    names = {run.name for run in find_runs("mlrun") if "mlrun.kind" not in run.tags}
    assert names == {f"model={model} seed={seed}" for model in ("ridge", "lasso") for seed in (1, 2)}
