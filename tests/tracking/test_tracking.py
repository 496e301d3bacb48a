"""What MLflow holds after a run."""

from __future__ import annotations

import numpy as np
import pytest

from mlrun.errors import UserError
from mlrun.tracking.read import read_run
from mlrun.tracking.run import Run
from mlrun.tracking.store import tracking_uri


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=random_forest"],
        ["model=mlp", "trainer.max_epochs=3"],
        ["model=linear", "dataset=diabetes", "trainer.max_epochs=3"],
    ],
)
def test_a_logged_model_predicts_from_raw_rows(experiment, overrides):
    import mlflow

    result = experiment(*overrides)
    mlflow.set_tracking_uri(tracking_uri())
    model = mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model")
    assert model.metadata.signature.inputs and model.metadata.signature.outputs
    from mlrun.data.inputs import as_examples
    from mlrun.predictions.learner import load_learner

    example, learner = model.input_example, load_learner(result.directory / "model")
    expected = learner.predict(as_examples(example, learner.inputs)).answers()
    np.testing.assert_array_equal(model.predict(example), expected)
    assert len(model.predict(example)) == len(example)


def test_an_estimator_can_be_loaded_as_what_it_is(experiment):
    import mlflow

    result = experiment("model=random_forest")
    mlflow.set_tracking_uri(tracking_uri())
    assert type(mlflow.sklearn.load_model(f"runs:/{result.run_id}/model")[-1]).__name__ == "RandomForestClassifier"


def test_parameters_are_not_cut(workplace):
    run = Run("mlrun", "long", {}, {"long": "x" * 5000})
    run.metrics({"a": 1.0}, 1)
    assert run.close("FINISHED") is None
    stored = read_run(run.id)
    assert stored.params["long"] == "x" * 5000 and stored.metrics == {"a": 1.0} and stored.status == "FINISHED"


def test_the_run_of_a_vanished_process_ends_though_one_call_is_refused(workplace):
    """The sweep's process is gone, and so is a child that it had reported: the others must not stay RUNNING."""
    from mlrun.tracking.delivery import serve
    from mlrun.tracking.store import open_client

    client = open_client(tracking_uri())
    child = client.create_run("0").info.run_id
    opened = []
    messages = [
        (1, "open", (tracking_uri(), "mlrun", "sweep", {}, {}, None, str(workplace), 0)),
        (2, "metrics", ({"done": 1.0}, 1, 0)),
        (3, "child", ("no such run",)),
        (4, "child", (child,)),
        None,
    ]
    serve(iter(messages).__next__, opened.append)
    (run_id, error), *_ = opened
    assert error is None and read_run(run_id).status == "KILLED" and read_run(run_id).metrics == {"done": 1.0}
    assert client.get_run(child).info.status == "KILLED"


def test_every_point_arrives_once(workplace):
    from mlflow.tracking import MlflowClient

    run = Run("mlrun", "many", {}, {})
    for step in range(2500):
        run.metrics({"loss": step / 7, "accuracy": step}, step)
    run.close("FINISHED")
    client = MlflowClient(tracking_uri())
    for name, of in (("loss", 7), ("accuracy", 1)):
        assert [(m.step, m.value) for m in client.get_metric_history(run.id, name)] == [
            (step, step / of) for step in range(2500)
        ]


def test_a_store_that_mlflow_refuses(workplace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(UserError, match="folder of files"):
        tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://server")
    with pytest.raises(UserError, match="unknown scheme 'ftp'"):
        tracking_uri()


def test_a_database_that_is_none(workplace):
    (workplace / "mlflow.db").write_text(
        "this is not a database, it is a text that is long enough to be taken for one" * 20
    )
    run = Run("mlrun", "x", {}, {})
    with pytest.raises(UserError, match="not a database"):
        run.id


def test_where_the_time_went(experiment):
    from mlflow.tracking import MlflowClient

    result = experiment("model=linear_regression")
    assert list(result.seconds) == ["data", "import", "fit", "evaluate", "report", "log"]
    recorded = MlflowClient(tracking_uri()).get_run(result.run_id).data.metrics
    for phase, seconds in result.seconds.items():
        assert (
            phase == "log" or recorded[f"wall/{phase}"] == seconds
        )  # what waiting for MLflow took is known when the run is closed
