"""What is used of MLflow beyond its documented interface: these tests fail when another version changes it."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlrun.tracking import mlflow_internals, read
from mlrun.tracking.read import find_runs, metric_histories
from mlrun.tracking.store import open_client, tracking_uri


@pytest.fixture
def recorded(workplace):
    """Runs with everything that is read back: parameters, tags, NaN, a step that was recorded twice, a deleted run."""
    client = open_client(tracking_uri())
    experiment = client.create_experiment("some")
    other = client.create_experiment("other")
    runs = []
    for number in range(3):
        run = client.create_run(experiment, start_time=1000 + number, run_name=f"run {number}").info.run_id
        client.log_param(run, "optim.lr", 0.1 * number)
        client.set_tag(run, "model", f"model {number}")
        for step, value in enumerate((1.0, 2.0, math.nan if number else 3.0)):
            client.log_metric(run, "val/loss", value, timestamp=step, step=step)
        client.log_metric(run, "val/loss", 7.0, timestamp=9, step=1)
        runs.append(run)
    client.log_metric(runs[0], "test/loss", math.inf)
    client.set_terminated(runs[0], "FAILED")
    client.delete_run(client.create_run(experiment).info.run_id)
    client.create_run(other)
    return runs


def test_the_tables_hold_what_mlflow_answers(recorded, monkeypatch):
    direct, histories = find_runs("some"), metric_histories(recorded, "val/loss")
    read_tables = []
    for name in ("experiments_in_sqlite", "runs_in_sqlite", "histories_in_sqlite"):
        assert getattr(mlflow_internals, name) is getattr(read, name)
        monkeypatch.setattr(read, name, lambda *_, name=name: read_tables.append(name))  # as if the tables were others
    asked = find_runs("some")
    assert [run.run_id for run in direct] == [run.run_id for run in asked] == recorded[::-1]
    assert repr(direct) == repr(asked)  # NaN differs from itself
    assert direct[2].metrics["test/loss"] == asked[2].metrics["test/loss"] > 1e300  # MLflow's largest number
    assert repr(histories) == repr(metric_histories(recorded, "val/loss"))
    assert histories[recorded[1]][1] == 7.0 and math.isnan(histories[recorded[1]][2])
    assert read_tables == ["experiments_in_sqlite", "histories_in_sqlite"]


def test_other_tables_are_left_to_mlflow(workplace):
    database = Path("other.db")
    with sqlite3.connect(database) as connection:
        connection.execute("create table experiments (identifier, title)")
    assert mlflow_internals.experiments_in_sqlite(database) is None
    assert mlflow_internals.runs_in_sqlite(database, "1") is None
    assert mlflow_internals.histories_in_sqlite(database, ["a"], "val/loss") is None


def test_what_is_imported_early_exists():
    names = [name for name in mlflow_internals.LATE_IMPORTS if name != "tomllib"]  # Python 3.11
    assert [name for name in names if importlib.util.find_spec(name) is None] == []


RECORD = """
import json, sys
import mlrun.tracking.warm
before = set(sys.modules)
from mlrun.tracking.run import Run
run = Run("mlrun", "x", {"a": 1}, {"b": 2})
run.metrics({"c": 3.0}, 1)
assert run.close("FINISHED") is None
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_a_prepared_process_imports_nothing_heavy_when_it_records(workplace):
    done = subprocess.run([sys.executable, "-c", RECORD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    late = json.loads(done.stdout)
    assert len(late) < 120, late  # 28; without the list 262


def test_the_logger_of_the_database_has_this_name():
    from mlflow.store.db import utils

    mlflow_internals.quiet()
    assert utils._logger.name == mlflow_internals.DATABASE_LOGGER
    assert not utils._logger.isEnabledFor(logging.ERROR)


def test_mlflows_page_knows_the_kind_of_experiment(workplace):
    import mlflow.server

    ((tag, kind),) = mlflow_internals.TRAINING_VIEW.items()
    scripts = Path(mlflow.server.__file__).parent / "js" / "build"
    if not scripts.is_dir():
        pytest.skip("this MLflow has no page")
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in scripts.rglob("*.js")]
    assert any(tag in text for text in texts) and any(kind in text for text in texts)


def test_a_copied_database_equals_one_that_mlflow_creates(workplace, monkeypatch):
    """All but the times at which its experiment was created; without the cache, MLflow creates one again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "cache"))
    dumps = []
    for name in ("migrated", "copied"):
        open_client(f"sqlite:///{workplace / name}.db")
        with sqlite3.connect(workplace / f"{name}.db") as database:
            database.execute("update experiments set creation_time = 0, last_update_time = 0")
            dumps.append(list(database.iterdump()))
    assert dumps[0] == dumps[1] and f"{workplace}/mlruns/0" in "".join(dumps[1])
    (kept,) = (workplace / "cache").glob("**/*.db")
    moved = workplace / "elsewhere"
    moved.mkdir()
    monkeypatch.chdir(moved)
    kept.write_bytes(kept.read_bytes()[:5000])  # damaged: not used
    client = open_client(tracking_uri())
    assert client.get_experiment("0").artifact_location == str(moved / "mlruns" / "0")
