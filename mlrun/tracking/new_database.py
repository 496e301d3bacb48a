"""New SQLite databases for MLflow.

MLflow creates one by running all its migrations, which takes over a second. The first database that a version of MLflow creates is
kept empty in the user's cache, and later ones are copies of it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from mlrun.tracking.mlflow_internals import place_default_experiment


def create(database: Path) -> None:
    """Creates the database, in place of one that nothing was recorded in, unless that one is complete."""
    for remnant in database.parent.glob(f"{database.name}.new-*"):  # of a process that was killed here
        remnant.unlink(missing_ok=True)
    # MLflow keeps the connections of each address that it has opened, so every attempt needs another one
    fresh = database.with_name(f"{database.name}.new-{secrets.token_hex(4)}")
    try:
        if not _copied(fresh):
            _migrated(fresh)
        if not _schema(fresh) <= _schema(database):
            os.replace(fresh, database)
    finally:
        fresh.unlink(missing_ok=True)


def _copied(fresh: Path) -> bool:
    """Whether `fresh` is now a copy of the kept database."""
    with suppress(OSError, sqlite3.Error):  # there is none yet, or it is damaged
        shutil.copyfile(_kept(), fresh)
        if place_default_experiment(fresh, Path.cwd()):
            return True
    fresh.unlink(missing_ok=True)
    return False


def _migrated(fresh: Path) -> None:
    from mlflow.tracking import MlflowClient

    MlflowClient(f"sqlite:///{fresh}")
    kept = _kept()
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{secrets.token_hex(4)}")
        try:
            shutil.copyfile(fresh, partial)
            os.replace(partial, kept)
        finally:
            partial.unlink(missing_ok=True)


def _kept() -> Path:
    from pooch import os_cache

    return Path(os_cache("mlrun")) / "mlflow" / f"{version('mlflow')}.db"


def is_unused(database: Path) -> bool:
    """Whether nothing was recorded in a database, which may be missing or incomplete."""
    if not database.is_file():
        return True
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        held = {"experiments": 1, "runs": 0, "registered_models": 0}  # MLflow itself creates the experiment "Default"
        return all(
            connection.execute(f"select count(*) from {table}").fetchone()[0] <= rows
            for table, rows in held.items()
            if table in tables
        )


def _schema(database: Path) -> set[tuple[str, ...]]:
    """The version of a database's schema and its tables; empty for a missing or empty file."""
    if not database.is_file():
        return set()
    with closing(sqlite3.connect(database)) as connection:
        tables = set(connection.execute("select name from sqlite_master where type = 'table'"))
        return tables | (
            set(connection.execute("select * from alembic_version")) if ("alembic_version",) in tables else set()
        )
