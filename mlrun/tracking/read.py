"""Reads what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.errors import UserError
from mlrun.tracking.mlflow_internals import (
    experiments_in_sqlite,
    histories_in_sqlite,
    runs_in_sqlite,
    tag_in_sqlite,
    values_in_sqlite,
)
from mlrun.tracking.run_directory import read_record, tracking_address
from mlrun.tracking.store import open_client, sqlite_file, tracking_uri
from mlrun.tracking.stored_run import StoredRun

if TYPE_CHECKING:
    import mlflow.entities

PAGE = 1000  # runs per answer of MLflow


def read_run(run_id: str) -> StoredRun:
    """A run by its MLflow id. Raises mlflow's MlflowException if it does not exist."""
    return _stored(open_client(tracking_uri()).get_run(run_id))


def directory_of(run_id: str) -> str | None:
    """The directory to which a run wrote its files; "" if that was not recorded, None if the run does not exist."""
    database = sqlite_file(tracking_uri())
    if database is not None:
        if not database.is_file():  # MLflow would create it
            return None
        found = tag_in_sqlite(database, run_id, "directory")
        if found is not None:
            return found
    from mlflow.exceptions import MlflowException

    try:
        return read_run(run_id).tags.get("directory", "")
    except MlflowException:
        return None


def store_of(directory: Path | str, run_id: str) -> str | None:
    """The URI of the store that has the run of a directory: that of this working directory, else the one in its record; None if neither has it."""
    if directory_of(run_id) is not None:
        return tracking_uri()
    try:
        uri = tracking_address(read_record(directory))
    except UserError:  # of another user, or with a password
        return None
    database = sqlite_file(uri)
    if database is None:
        return uri
    return uri if database.is_file() and tag_in_sqlite(database, run_id, "directory") is not None else None


def find_runs(
    experiment: str, metrics: Callable[[str], bool] | None = None, tags: Collection[str] | None = None
) -> list[StoredRun]:
    """All runs of an experiment that are not deleted.

    Args:
        metrics, tags: what is needed: whether the metric of a name is, and the names of the tags. The others may be absent, which makes
            reading thousands of runs faster. None: all.

    Raises:
        UserError: the experiment does not exist; it names those that do.
    """
    uri = tracking_uri()
    database = sqlite_file(uri)
    if database is not None:
        if not database.is_file():
            raise UserError(f"there are no runs here yet: {database} does not exist")
        experiments = experiments_in_sqlite(database)
        if experiments is not None:
            if experiment not in experiments:
                raise _unknown(experiment, list(experiments))
            runs = runs_in_sqlite(database, experiments[experiment], metrics, tags)
            if runs is not None:
                return runs
    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise _unknown(experiment, [other.name for other in client.search_experiments()])
    runs, token = [], None
    while True:
        page = client.search_runs([found.experiment_id], max_results=PAGE, page_token=token)
        runs += map(_stored, page)
        token = page.token
        if not token:
            return runs


def tag_values(tag: str) -> set[str]:
    """The values of a tag in all runs of an SQLite store; empty for other stores, where that would mean reading all runs."""
    database = sqlite_file(tracking_uri())
    return values_in_sqlite(database, tag) if database is not None and database.is_file() else set()


def metric_histories(runs: list[str], metric: str) -> dict[str, dict[int, float]]:
    """Run id -> step -> value, for the runs that have this metric. If a step was recorded twice, the later value counts."""
    uri = tracking_uri()
    database = sqlite_file(uri)
    histories = None if database is None else histories_in_sqlite(database, runs, metric)
    if histories is None:
        client = open_client(uri)
        histories = {run: {point.step: point.value for point in client.get_metric_history(run, metric)} for run in runs}
    return {run: history for run, history in histories.items() if history}


def attach(run_id: str, path: Path, folder: str) -> None:
    """Adds a file to the artifacts of a run that has ended."""
    open_client(tracking_uri()).log_artifact(run_id, str(path), folder)


def _stored(run: mlflow.entities.Run) -> StoredRun:
    info, data = run.info, run.data
    return StoredRun(
        info.run_id, info.run_name, info.status, data.params, data.metrics, data.tags, info.artifact_uri, info.start_time or 0
    )  # fmt: skip


def _unknown(experiment: str, known: list[str]) -> UserError:
    known = [name for name in known if name != "Default"]
    return UserError(
        f"there is no experiment '{experiment}' (there {'are' if len(known) != 1 else 'is'} {', '.join(known) or 'none'})"
    )
