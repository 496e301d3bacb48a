"""What mlrun uses of MLflow beyond its documented interface. Every function works without it, if more slowly."""

from __future__ import annotations

import importlib
import logging
import math
import sqlite3
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from mlrun.tracking.stored_run import StoredRun

# Tag of an experiment for which MLflow's page shows runs and models, not traces and prompts. Other versions ignore it.
TRAINING_VIEW = {"mlflow.experimentKind": "custom_model_development"}

# Logs with a traceback what it raises as well.
DATABASE_LOGGER = "mlflow.store.db.utils"

# Modules that recording a run imports late.
LATE_IMPORTS = (
    "alembic.autogenerate", "alembic.command", "alembic.script", "cryptography.fernet", "fsspec.implementations.chained",
    "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.store.model_registry.sqlalchemy_store", "sqlalchemy.dialects.sqlite", "tomllib",
)  # fmt: skip


def quiet() -> None:
    """Silences the loggers of MLflow and of its migrations. Call it after mlflow is imported, which sets its own levels."""
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger(DATABASE_LOGGER).setLevel(logging.CRITICAL)


def import_store() -> None:
    """Imports what opening a store imports late, and maps its tables. What another version lacks is left out."""
    for name in LATE_IMPORTS:
        with suppress(ImportError):
            importlib.import_module(name)
    with suppress(ImportError):
        import sqlalchemy.orm

        sqlalchemy.orm.configure_mappers()


def place_default_experiment(database: Path, directory: Path) -> bool:
    """Gives the experiment "Default" of a copied SQLite store the artifacts' place that MLflow gives it in this directory.

    Returns:
        False if the tables are not the expected ones: MLflow must create the store then.
    """
    place = (str(directory / "mlruns" / "0"),)
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as connection:
        changed = connection.execute(
            "update experiments set artifact_location = ? where name = 'Default'", place
        ).rowcount
        connection.commit()
        return changed == 1
    return False


def experiments_in_sqlite(database: Path) -> dict[str, str] | None:
    """Name -> id of the experiments that are not deleted, straight from the tables of an SQLite store.

    Returns:
        None if the tables are not the expected ones: MLflow must be asked then.
    """
    with suppress(sqlite3.OperationalError), closing(_open(database)) as connection:
        rows = connection.execute("select name, experiment_id from experiments where lifecycle_stage = 'active'")
        return {name: str(identifier) for name, identifier in rows}
    return None


def tag_in_sqlite(database: Path, run_id: str, tag: str) -> str | None:
    """A tag of a run, straight from the tables of an SQLite store: "" if the run does not have it.

    Returns:
        None if there is no such run, or the tables are not the expected ones: MLflow must be asked then.
    """
    with suppress(sqlite3.Error), closing(_open(database)) as connection:
        if connection.execute("select 1 from runs where run_uuid = ?", (run_id,)).fetchone():
            found = connection.execute(
                "select value from tags where run_uuid = ? and key = ?", (run_id, tag)
            ).fetchone()
            return found[0] if found else ""
    return None


def values_in_sqlite(database: Path, tag: str) -> set[str]:
    """The values of a tag in all runs of an SQLite store; empty if the tables are not the expected ones."""
    with suppress(sqlite3.Error), closing(_open(database)) as connection:
        return {value for (value,) in connection.execute("select distinct value from tags where key = ?", (tag,))}
    return set()


def runs_in_sqlite(
    database: Path,
    experiment_id: str,
    metrics: Callable[[str], bool] | None = None,
    tags: Collection[str] | None = None,
) -> list[StoredRun] | None:
    """All runs of an experiment that are not deleted, the latest first, straight from the tables of an SQLite store.

    MLflow's own search takes 4 ms per run, and importing it a second.

    Args:
        metrics: whether the metric of this name is read; None: all are.
        tags: the tags that are read; None: all.

    Returns:
        None if the tables are not the expected ones: MLflow must be asked then.
    """
    with (
        suppress(sqlite3.OperationalError),
        closing(_open(database)) as connection,
        ThreadPoolExecutor(1, "parameters") as other,
    ):
        read, row = connection.execute, (experiment_id,)
        chosen = "from runs where experiment_id = ? and lifecycle_stage = 'active'"
        within = f"run_uuid in (select run_uuid {chosen})"
        params = other.submit(_params, database, within, row)
        runs = {
            run: StoredRun(run, name, status, {}, {}, {}, artifacts, started or 0)
            for run, name, status, artifacts, started in read(
                f"select run_uuid, name, status, artifact_uri, start_time {chosen} order by start_time desc", row
            )
        }
        some, names = _among("tags", tags)
        for run, key, value in read(f"select run_uuid, key, value from tags where {some} and {within}", (*names, *row)):
            if run in runs:  # otherwise another process has just begun it
                runs[run].tags[key] = value
        wanted = (
            None if metrics is None else [name for (name,) in read(_DISTINCT.format("latest_metrics")) if metrics(name)]
        )
        some, names = _among("latest_metrics", wanted)
        for run, key, value, is_nan in read(
            f"select run_uuid, key, value, is_nan from latest_metrics where {some} and {within}", (*names, *row)
        ):
            if run in runs:
                runs[run].metrics[key] = math.nan if is_nan else value
        for run, found in params.result():
            if run in runs:
                runs[run].params.update(found)
        return list(runs.values())
    return None


# The keys of a table whose index begins with the key: from each to the next, without reading the rows between.
_DISTINCT = (
    "with recursive found(key) as (select min(key) from {0} union all "
    "select (select min(key) from {0} where key > found.key) from found where found.key is not null) "
    "select key from found where key is not null"
)
# ASCII's separators of groups, records and units, which no parameter contains
_GROUP, _RECORD, _UNIT = "\x1d", "\x1e", "\x1f"


def _among(table: str, names: Collection[str] | None) -> tuple[str, list[str]]:
    """An SQL condition for some keys, and its arguments."""
    return ("true", []) if names is None else (f"{table}.key in ({', '.join('?' * len(names))})", list(names))


def _params(database: Path, within: str, row: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    """(run, parameters of it) of all runs.

    SQLite joins them to one text, while another thread of Python works. Most parameters of most runs are the same, so that the text of
    a run is often one that was parsed already; the seeds, by which runs of the same settings differ, are read apart.
    """
    with closing(_open(database)) as connection:
        read = connection.execute
        names = [name for (name,) in read(_DISTINCT.format("params"))]
        seeds = [name for name in names if name.rpartition(".")[2] in ("seed", "random_state")]
        marks = ", ".join("?" * len(seeds))
        of_runs = (
            f"select run_uuid || '{_GROUP}' || group_concat(key || '{_UNIT}' || value, '{_RECORD}') as text from params "
            f"where key not in ({marks}) and {within} group by run_uuid"
        )
        (text,) = read(f"select group_concat(text, '{_GROUP}') from ({of_runs})", (*seeds, *row)).fetchone()
        apart = read(f"select run_uuid, key, value from params where key in ({marks}) and {within}", (*seeds, *row))
        found = [(run, {key: value}) for run, key, value in apart]
    parts = iter((text or "").split(_GROUP) if text else ())
    parsed: dict[str, dict[str, str]] = {}
    for run, own in zip(parts, parts):
        if own not in parsed:
            parsed[own] = dict(one.split(_UNIT, 1) for one in own.split(_RECORD))
        found.append((run, parsed[own]))
    return found


def histories_in_sqlite(database: Path, runs: list[str], metric: str) -> dict[str, dict[int, float]] | None:
    """Run id -> step -> value of a metric, for the runs that have it, straight from the tables of an SQLite store.

    Returns:
        None if the tables are not the expected ones: MLflow must be asked then.
    """
    with suppress(sqlite3.OperationalError), closing(_open(database)) as connection:
        found: dict[str, dict[int, float]] = {}
        for run in runs:
            points = connection.execute(
                "select step, value, is_nan from metrics where run_uuid = ? and key = ? order by step, timestamp",
                (run, metric),
            ).fetchall()
            if points:
                found[run] = {step: math.nan if is_nan else value for step, value, is_nan in points}
        return found
    return None


def _open(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.execute(f"pragma mmap_size={2**32}")  # a large database is read faster as memory than call by call
    return connection
