"""`mlflow models serve` on loopback, as the README shows it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from sklearn.datasets import load_iris

SECONDS = 90  # for a server to import what it needs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(server, port, question):
    """The predictions of a server. question: the body of the request, see MLflow's documentation."""
    body = json.dumps(question).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    end = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["predictions"]
        except urllib.error.URLError:
            assert server.poll() is None and time.monotonic() < end, "the server did not answer"
            time.sleep(0.2)


@pytest.mark.parametrize("model", ["mlp", "random_forest"])
def test_a_served_model_answers_as_the_learner_does(experiment, workplace, model):
    result = experiment(f"model={model}", "dataset=iris")
    port = free_port()
    command = [
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        f"runs:/{result.run_id}/model",
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    server = subprocess.Popen([sys.executable, *command], cwd=workplace, env=environment, start_new_session=True)
    try:
        rows = load_iris().data[::15]
        from mlrun.data.inputs import as_examples
        from mlrun.experiment.stored import open_run

        learner = open_run(str(result.directory))[1]
        expected = list(learner.predict(as_examples(rows, learner.inputs)).answers())
        assert ask(server, port, {"inputs": rows.tolist()}) == expected and len(set(expected)) == 3
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=20)
