"""The command as a user meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.long

HEAVY = ("torch", "lightning", "mlflow", "sklearn", "numpy", "pandas")


def imported_by(workplace, *arguments):
    """Heavy modules that the command has imported when it ends."""
    script = (
        "import sys\nfrom mlrun.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print('HEAVY', [m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    return done, re.search(r"HEAVY \[(.*)\]", done.stderr)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--cfg", "job", "model=random_forest"),
        ("list",),
        ("list", "model"),
        ("--info", "defaults"),
        ("optim.lrr=1",),
        ("model=transfomer",),
        ("-m", "model=mlp,lenett"),
    ],
)
def test_looking_imports_nothing_heavy(workplace, arguments):
    done, heavy = imported_by(workplace, *arguments)
    assert heavy == ""
    assert done.stdout or done.returncode == 2


def test_help_names_groups_and_commands(mlrun):
    text = mlrun("--help").stdout
    for part in ("model ", "dataset ", "mlp", "random_forest", "optim", "trainer", "list", "ui"):
        assert part in text


def test_the_main_job(mlrun, workplace):
    """`mlrun` in an empty directory: a good model, a table that names the run, and everything in MLflow."""
    done = mlrun()
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    run_id = re.search(r"^run +([0-9a-f]{32})$", done.stdout, re.M)[1]
    accuracy = float(re.search(r"^test/accuracy +([0-9.]+)$", done.stdout, re.M)[1])
    assert accuracy >= 0.83  # as in test_networks.py

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace / 'mlflow.db'}")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/accuracy"] == pytest.approx(accuracy, abs=1e-3)
    assert len(client.get_metric_history(run_id, "val/accuracy")) >= 20
    assert run.data.params["model.network.hidden"] == "[256]"
    for tag in ("model", "dataset", "problem", "seed", "config_hash", "command"):
        assert tag in run.data.tags
    assert run.inputs.dataset_inputs[0].dataset.digest
    files = {
        item.path for folder in ("figures", "config", "checkpoints") for item in client.list_artifacts(run_id, folder)
    }
    assert {"figures/confusion_matrix.png", "figures/learning_curves.png", "figures/misclassified.png"} <= files
    assert {"config/config.yaml", "config/overrides.yaml", "checkpoints/best.ckpt"} <= files
    assert "mlrun.log" in {item.path for item in client.list_artifacts(run_id)}


def test_an_estimators_run_imports_no_torch(workplace):
    done, heavy = imported_by(workplace, "model=random_forest")
    assert done.returncode == 0, done.stderr
    assert "torch" not in heavy and "lightning" not in heavy
    assert "mlflow" not in heavy  # it works in a process of its own


def test_estimators_say_that_they_have_no_optimizer(mlrun):
    done = mlrun("model=knn", "optim=sgd")
    assert done.returncode == 0
    assert "optim=sgd has no effect" in done.stderr


def test_four_at_once_in_an_empty_directory(workplace):
    command = [sys.executable, "-m", "mlrun", "model=naive_bayes"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    runs = [
        subprocess.Popen(
            [*command, f"seed={seed}"], cwd=workplace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for seed in range(4)
    ]
    outputs = [run.communicate(timeout=240)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, outputs
    assert statuses(workplace) == ["FINISHED"] * 4
    assert len(os.listdir(workplace / "outputs")) == 4


def test_a_users_own_model(mlrun, workplace):
    """Two files in the working directory: a network and its YAML."""
    (workplace / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, input_shape, num_outputs, width=16):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], width), nn.Tanh(), nn.Linear(width, num_outputs))\n"
        "    def forward(self, x):\n"
        "        return self.layers(x)\n"
    )
    (workplace / "conf" / "model").mkdir(parents=True)
    (workplace / "conf" / "model" / "mine.yaml").write_text(
        "# My network.\ndefaults:\n  - override /dataset@_global_.dataset: iris\n_target_: mlrun.tasks.supervised.Supervised\n"
        "fits: [classification]\nnetwork: {_target_: mine.Net, width: 8}\n"
    )
    assert re.search(r"mine \(yours\) +My network", mlrun("list", "model").stdout)
    done = mlrun("model=mine", "trainer.max_epochs=30", "optim.lr=0.01")
    assert done.returncode == 0, done.stderr
    # of five seeds the worst 0.93, by chance 0.33
    assert float(re.search(r"^test/accuracy +([0-9.]+)$", done.stdout, re.M)[1]) >= 0.65
    typo = mlrun("model=mine", "model.network.widht=9")
    assert typo.returncode == 2 and "did you mean" in typo.stderr


def test_a_failing_run_is_failed_and_keeps_its_traceback(mlrun, workplace):
    (workplace / "mine.py").write_text(
        "from torch import nn\n"
        "class Broken(nn.Linear):\n"
        "    def __init__(self, input_shape, num_outputs):\n"
        "        super().__init__(input_shape[0], num_outputs)\n"
        "    def forward(self, x):\n"
        "        raise RuntimeError('the dog ate it')\n"
    )
    (workplace / "conf" / "model").mkdir(parents=True)
    (workplace / "conf" / "model" / "broken.yaml").write_text(
        "# Broken.\nfits: [classification]\n_target_: mlrun.tasks.supervised.Supervised\nnetwork: {_target_: mine.Broken}\n"
    )
    done = mlrun("model=broken", "dataset=iris")
    assert done.returncode == 1
    assert "the dog ate it" in done.stderr
    assert statuses(workplace) == ["FAILED"]
    (traceback,) = workplace.glob("mlruns/*/*/artifacts/error.txt")
    assert "the dog ate it" in traceback.read_text()


def test_wrong_data_are_one_message(mlrun, workplace):
    (workplace / "table.csv").write_text("a,b\n1,2\n3,4\n")
    done = mlrun("model=knn", "dataset=csv", "dataset.path=table.csv", "dataset.target=c")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "'c'" in done.stderr
    assert statuses(workplace) == ["FAILED"]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_killed(workplace, number, status):
    command = [sys.executable, "-m", "mlrun", "model=mlp", "trainer.max_epochs=100000"]
    process = subprocess.Popen(
        command, cwd=workplace, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    assert statuses(workplace) == ["KILLED"]


def test_a_run_that_disappears_is_killed(workplace):
    command = [sys.executable, "-m", "mlrun", "model=mlp", "trainer.max_epochs=100000"]
    process = subprocess.Popen(
        command, cwd=workplace, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    wait_until(
        lambda: '"run_id"' in next(workplace.glob("outputs/*/run.json")).read_text()
    )  # MLflow has been imported and asked
    process.kill()
    process.wait()
    wait_until(lambda: statuses(workplace) == ["KILLED"])


def test_same_seed_same_numbers_also_in_a_sweep(mlrun, workplace):
    assert mlrun("trainer.max_epochs=2", "seed=5").returncode == 0
    assert mlrun("-m", "trainer.max_epochs=2", "seed=5,6").returncode == 0
    metrics = [
        json.loads(path.read_text()) for path in sorted(workplace.glob("outputs/**/metrics.json"), key=os.path.getmtime)
    ]
    assert len(metrics) == 3
    assert metrics[0] in metrics[1:] and metrics[1] != metrics[2]


def wait_until(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def statuses(workplace):
    """Of the runs in the database that are no sweeps; none before MLflow has made its tables."""
    import sqlite3

    with sqlite3.connect(workplace / "mlflow.db", timeout=60) as connection:
        if not connection.execute("select 1 from sqlite_master where name = 'tags'").fetchone():
            return []
        return [
            row[0]
            for row in connection.execute(
                "select status from runs where run_uuid not in (select run_uuid from tags where key = 'mlrun.sweep')"
            )
        ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("model=kmeans", "dataset=iris", "dataset.split.test=0"),
        ("model=mlp", "dataset=iris", "dataset.split.test=0", "dataset.split.val=0"),
        ("model=knn", "dataset.split.test=0", "dataset.split.val=0"),
    ],
)
def test_parts_may_be_empty(mlrun, arguments):
    done = mlrun(*arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("model=mlp", "scheduler=plateau", "dataset.split.val=0"), "set dataset.split.val"),
        (("model=knn", "model.classifier.n_neighbors=5000"), "model.classifier"),
        (("trainer=gpu",), "trainer=default"),
    ],
)
def test_what_is_found_late_is_one_message_too(mlrun, arguments, said):
    if said == "trainer=default" and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    done = mlrun(*arguments)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_divergence_is_told(mlrun):
    done = mlrun("model=linear", "dataset=diabetes", "optim.lr=1000", "trainer.max_epochs=40")
    assert "diverged" in done.stderr


def test_a_server_that_is_not_there(mlrun):
    """Told in one message: before the training if MLflow has given up by then, else after it, with the results on the disk."""
    done = mlrun("model=naive_bayes", MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    assert done.returncode in (1, 2)
    assert "MLflow" in done.stderr and "refused" in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_has_no_effect_is_told(mlrun, workplace):
    (workplace / "conf" / "model").mkdir(parents=True)
    (workplace / "conf" / "model" / "knn.yaml").write_text("# Mine.\nfits: [classification]\n")
    done = mlrun("model=knn")
    assert done.returncode == 0 and "conf/model/knn.yaml has no effect" in done.stderr
