"""Reads what was recorded."""

from dataclasses import dataclass

from mlrun.tracking.store import open_client, tracking_uri


@dataclass(frozen=True)
class StoredRun:
    run_id: str
    name: str
    status: str
    params: "dict[str, str]"
    metrics: "dict[str, float]"  # the last value of each
    tags: "dict[str, str]"
    artifact_uri: str


def read_run(run_id: str) -> StoredRun:
    """A run by its MLflow id. Raises mlflow's MlflowException where there is none."""
    run = open_client(tracking_uri()).get_run(run_id)
    return StoredRun(run_id, run.info.run_name, run.info.status, run.data.params, run.data.metrics, run.data.tags, run.info.artifact_uri)
