"""A tracking server that refuses, dies in the middle of a run, or never answers: the run goes on, and everything arrives in the end, once.

MLRUN_TEST_DATABASE=postgresql+psycopg2://... puts that database behind the server, and adds the longer test.
"""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections import Counter

import pytest

from tests.life.server import DATABASE, Server

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def recorded_there(server, workplace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # a busy machine's server is slow, not away


def client(server):
    from mlflow.tracking import MlflowClient

    return MlflowClient(server.uri)


def run_id_of(directory):
    return json.loads((directory / "run.json").read_text()).get("run_id")


def epochs_in_log(directory):
    return [
        int(line.split("epoch ")[1].split(":")[0])
        for line in (directory / "mlrun.log").read_text().splitlines()
        if "INFO mlrun: epoch " in line
    ]


def everything_is_there_once(server, directory, epochs):
    """Each metric of each epoch, one model, the artifacts, the end."""
    there, run_id = client(server), run_id_of(directory)
    run = there.get_run(run_id)
    assert run.info.status == "FINISHED"
    for name in ("train/loss", "val/accuracy", "lr"):
        steps = Counter(point.step for point in there.get_metric_history(run_id, name))
        assert steps == Counter(range(1, epochs + 1)), name
    assert len(there.get_metric_history(run_id, "test/accuracy")) == 1
    files = {
        item.path for folder in ("figures", "config", "checkpoints") for item in there.list_artifacts(run_id, folder)
    }
    assert {"figures/learning_curves.png", "config/config.yaml", "checkpoints/best.ckpt"} <= files
    assert run.data.params["model.network.hidden"] == "[8]" and "parameters" in run.data.tags
    assert len(run.outputs.model_outputs) == 1
    assert not (directory / "unsent.jsonl").exists()


OPTIONS = ["model.network.hidden=[8]", "trainer.max_epochs=40"]


def sync(*directories):
    from mlrun.commands.sync import run

    return run([str(directory) for directory in directories])


def test_a_server_that_dies_in_the_middle(server, recorded_there, begin, workplace, capsys):
    child = begin("run", *OPTIONS, "trainer.max_epochs=200")
    child.wait_for("epoch 1/")
    server.kill()
    assert child.wait() == 0, child.output  # the training itself is done
    assert "mlrun sync run" in child.output and "test/accuracy" in child.output
    assert sync(workplace / "run") == 1 and "does not answer" in capsys.readouterr().err
    server.start()
    assert sync(workplace / "run") == 0
    everything_is_there_once(server, workplace / "run", 200)
    assert sync(workplace / "run") == 0 and "nothing to upload" in capsys.readouterr().out


def test_a_server_that_refuses_from_the_start_and_a_kill(server, recorded_there, begin, resume, workplace):
    server.kill()
    child = begin("run", *OPTIONS)
    child.wait_for("epoch 1/")
    child.send(signal.SIGKILL)
    assert run_id_of(workplace / "run") is None
    server.start()
    again = resume("run")
    assert again.wait() == 0, again.output
    everything_is_there_once(server, workplace / "run", 40)
    runs = client(server).search_runs([client(server).get_run(run_id_of(workplace / "run")).info.experiment_id])
    assert sum(run.data.tags["directory"] == str(workplace / "run") for run in runs) == 1


def test_a_server_that_never_answers(begin, workplace, monkeypatch):
    """It accepts connections and says nothing: the training does not wait for it."""
    silent = socket.create_server(("127.0.0.1", 0))
    held = []
    threading.Thread(target=lambda: [held.append(silent.accept()) for _ in range(100)], daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    child = begin("run", *OPTIONS)
    assert child.wait() == 0, child.output
    assert "does not answer" in child.output and "mlrun sync run" in child.output
    assert (workplace / "run" / "metrics.json").exists() and (workplace / "run" / "unsent.jsonl").exists()


def test_folds_beside_a_server_that_is_away(server, recorded_there, experiment, monkeypatch):
    from mlrun.tracking import run

    monkeypatch.setattr(run, "OPEN_SECONDS", 0.5)
    server.kill()
    result = experiment("model=naive_bayes", "dataset=iris", "trainer=kfold", "trainer.folds=2")
    assert result.status == "FINISHED" and not result.recorded and (result.directory / "out_of_fold.csv").exists()
    server.start()
    assert sync(result.directory) == 0
    there, run_id = client(server), run_id_of(result.directory)
    assert [point.step for point in there.get_metric_history(run_id, "fold/accuracy")] == [1, 2]
    for number in (1, 2):
        fold = there.get_run(run_id_of(result.directory / f"fold_{number}"))
        assert fold.data.tags["mlflow.parentRunId"] == run_id and fold.info.status == "FINISHED"
        assert fold.data.metrics["test/accuracy"] > 0.9 and len(fold.outputs.model_outputs) == 1
    assert not list(result.directory.rglob("unsent.jsonl"))


@pytest.mark.skipif(not DATABASE, reason="takes minutes: set MLRUN_TEST_DATABASE")
def test_a_server_that_is_killed_and_started_again_during_the_run(server, recorded_there, begin, workplace):
    epochs = 6000
    child = begin("run", *OPTIONS, f"trainer.max_epochs={epochs}")
    child.wait_for("epoch 1/")
    time.sleep(3)
    server.kill()
    time.sleep(8)
    server.start()
    assert "test/accuracy" not in child.output, "the run was over too early"
    assert child.wait() in (0, 1), child.output
    print(child.output)
    assert sync(workplace / "run") == 0
    everything_is_there_once(server, workplace / "run", epochs)
