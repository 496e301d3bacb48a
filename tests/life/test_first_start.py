"""A first start that is killed, or finds no room, while MLflow's database is created: the directory stays usable."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from tests.life.conftest import Child


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch, tmp_path_factory):
    """MLflow creates its database by its migrations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def statuses(workplace):
    with closing(sqlite3.connect(workplace / "mlflow.db")) as database:
        return [status for (status,) in database.execute("select status from runs")]


def killed_while_migrating(workplace):
    """Opens a store and dies within a migration, between two statements."""

    def work():
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        from mlrun.tracking.store import open_client, tracking_uri

        def kill(connection, cursor, statement, *_):
            if "DROP TABLE runs" in statement:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "before_cursor_execute", kill)
        open_client(tracking_uri())

    assert Child(work, workplace / "killed.log").wait() == -signal.SIGKILL


def test_a_kill_during_the_first_start(workplace, experiment):
    killed_while_migrating(workplace)
    assert experiment("model=naive_bayes", "dataset=iris").recorded
    assert statuses(workplace) == ["FINISHED"]
    assert not list(workplace.glob("mlflow.db.new*"))


def test_an_incomplete_database_without_runs_is_replaced(workplace, experiment):
    """MLflow's own server, or an earlier version of this program, was killed while it created the database."""
    killed_while_migrating(workplace)
    (partial,) = workplace.glob("mlflow.db.new-*[0-9a-f]")
    partial.rename("mlflow.db")
    for rest in workplace.glob("mlflow.db.new*"):
        rest.rename(rest.name.replace(partial.name, "mlflow.db"))
    with closing(sqlite3.connect("mlflow.db")) as database:
        names = {name for (name,) in database.execute("select name from sqlite_master")}
    assert "experiments" in names and "alembic_version" in names
    assert experiment("model=naive_bayes", "dataset=iris").recorded
    assert statuses(workplace) == ["FINISHED"]


def test_a_database_with_runs_is_never_replaced(workplace, begin):
    """It is not in WAL mode, and of another version."""
    assert begin("run", "model=naive_bayes", "dataset=iris").wait() == 0
    with closing(sqlite3.connect("mlflow.db")) as database:
        database.execute("pragma journal_mode=delete")
        database.execute("update alembic_version set version_num = 'earlier'")
        database.commit()
    again = begin("again", "model=naive_bayes", "dataset=iris")
    again.wait()
    assert "out-of-date database schema" in again.output
    assert statuses(workplace) == ["FINISHED"]
