"""Messages that MLflow does not take at their first moment, or whose files are gone."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from mlrun.tracking import store

OPTIONS = ["model=mlp", "dataset=iris", "model.network.hidden=[8]", "trainer.max_epochs=3"]


def fails_once(call, error):
    """The function, whose first call raises an error after it has done its work for `late`, else before."""
    left = [error]

    def changed(*arguments, **options):
        if left:
            raise left.pop()
        return call(*arguments, **options)

    return changed


@pytest.mark.parametrize(
    ("method", "message", "code"),
    [
        (
            "log_inputs",
            "UNIQUE constraint failed: datasets.experiment_id, datasets.name, datasets.digest",
            "BAD_REQUEST",
        ),
        ("log_batch", "API request failed: connection refused while the server restarts", "INTERNAL_ERROR"),
    ],
)
def test_a_call_that_fails_only_at_its_moment_is_repeated(experiment, monkeypatch, method, message, code):
    from mlflow.exceptions import MlflowException
    from mlflow.protos import databricks_pb2
    from mlflow.tracking import MlflowClient

    error = MlflowException(message, getattr(databricks_pb2, code))
    monkeypatch.setattr(MlflowClient, method, fails_once(getattr(MlflowClient, method), error))
    result = experiment(*OPTIONS)
    assert result.recorded
    with closing(sqlite3.connect("mlflow.db")) as database:
        steps = [step for (step,) in database.execute("select step from metrics where key = 'val/accuracy'")]
        assert sorted(steps) == [1, 2, 3]
        assert database.execute("select count(*) from inputs where source_type = 'DATASET'").fetchone() == (1,)


def test_an_error_that_is_gone_does_not_block_the_rest(workplace, begin, resume, monkeypatch):
    """The run was interrupted while MLflow did not answer; the next attempt removes the traceback that waits to be sent."""
    from mlrun.tasks.supervised import Supervised

    def no_answer(uri):
        raise ConnectionError("nobody listens")

    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(store, "open_client", no_answer)
        patched.setattr(Supervised, "training_step", interrupted)
        assert begin("run", *OPTIONS).wait() == 130
    assert (workplace / "run" / "error.txt").exists() and (workplace / "run" / "unsent.jsonl").exists()
    again = resume("run")
    assert again.wait() == 0, again.output
    assert not (workplace / "run" / "unsent.jsonl").exists()
