"""Where runs are recorded: MLFLOW_TRACKING_URI, else an SQLite database in the working directory. Only this package imports mlflow."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlrun.config.passwords import masked
from mlrun.errors import UserError
from mlrun.tracking.mlflow_internals import TRAINING_VIEW, quiet
from mlrun.tracking.new_database import create, is_unused

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE = "mlflow.db"
DRIVERS = {
    "postgresql": "psycopg2",
    "mysql": "MySQLdb",
    "mssql": "pyodbc",
}  # SQLAlchemy's choice where the address names none
PACKAGES = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # module -> package, where their names differ


def tracking_uri() -> str:
    """The URI of the tracking store. Raises UserError for a scheme that MLflow cannot record to."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        if set(str(Path.cwd())) & set("?#%"):
            raise UserError(
                f"{Path.cwd()}: MLflow cannot keep its database in a directory whose name contains ?, # or %. Set MLFLOW_TRACKING_URI."
            )
        return f"sqlite:///{Path.cwd() / DATABASE}"
    try:
        scheme, _, driver = urlsplit(uri).scheme.partition("+")
    except ValueError as error:
        raise UserError(f"MLFLOW_TRACKING_URI={masked(uri)}: not an address: {error}") from None
    if scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={masked(uri)}: MLflow no longer records to a folder of files. "
            f"Unset it to record to ./{DATABASE}, or set it to sqlite:///FILE or to the address of a server."
        )
    if scheme not in ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={masked(uri)}: unknown scheme '{scheme}'. Use sqlite:///FILE, postgresql://…, or http(s)://HOST:PORT."
        )
    module = driver or DRIVERS.get(scheme, "")
    if module and find_spec(module) is None:
        package = PACKAGES.get(module, module)
        raise UserError(
            f"MLFLOW_TRACKING_URI={masked(uri)}: the driver of this database is not installed: pip install {package}"
        )
    return uri


def open_client(uri: str) -> MlflowClient:
    """A client of the store at `uri`. An SQLite database is created once, under a lock: concurrent first use corrupts its migration.

    It is created beside its place and renamed, because MLflow cannot open one whose creation was interrupted.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK", "true")
    # report a dead server after some seconds, not after four minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow.tracking import MlflowClient

    quiet()
    database = sqlite_file(uri)
    if database is None or _is_ready(database):
        return MlflowClient(uri)
    from filelock import FileLock

    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        if not _is_ready(database):
            if is_unused(database):
                create(database)
            with sqlite3.connect(database) as connection:  # the last step: only a complete database is in WAL mode
                connection.execute("PRAGMA journal_mode=WAL")
            connection.close()
        return MlflowClient(uri)


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is created if it does not exist. Another process may create it at the same moment."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, tags=TRAINING_VIEW)
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment '{name}' was deleted. Restore it (mlflow experiments restore), or set tracking.experiment=OTHER."
        )
    return experiment.experiment_id


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store; None for any other store."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def refuse_sqlite(machines: Sequence[str]) -> None:
    """Raises UserError if runs of other machines would be recorded in an SQLite file. machines: their names."""
    if machines and sqlite_file(tracking_uri()) is not None:
        raise UserError(
            f"{masked(tracking_uri())} is a file that only one machine can use, and jobs would run on {', '.join(machines[:3])}: "
            "start a server (mlflow server --host 0.0.0.0) and set MLFLOW_TRACKING_URI=http://HOST:5000"
        )


def settle(uri: str) -> None:
    """Moves SQLite's write-ahead log into the database file, so that the file alone is a complete copy. Does nothing for other stores."""
    database = sqlite_file(uri)
    if database is not None:
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.close()


def _is_ready(database: Path) -> bool:
    if not database.is_file():
        return False
    connection = sqlite3.connect(database)
    try:
        return connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{database} cannot be opened ({error}). Is the disk full, or the directory read-only?"
        ) from None
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{database} is not a database that MLflow can use ({error}). Move it away, or set MLFLOW_TRACKING_URI."
        ) from None
    finally:
        connection.close()
