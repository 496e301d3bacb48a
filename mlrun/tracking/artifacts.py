"""Fetches what was stored with a run."""

from __future__ import annotations

import os
from pathlib import Path

from mlrun.tracking.store import open_client, tracking_uri

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each of eight small files


def checkpoint_of(run_id: str) -> Path | None:
    """The best checkpoint of an MLflow run as a local file; None where there is no such run, or no checkpoint in it."""
    from mlflow.exceptions import MlflowException

    try:
        return Path(open_client(tracking_uri()).download_artifacts(run_id, "checkpoints/best.ckpt"))
    except (MlflowException, OSError):
        return None


def stored_config(run_id: str) -> Path:
    """The resolved configuration of a run. Raises MlflowException or OSError where there is none."""
    return Path(open_client(tracking_uri()).download_artifacts(run_id, "config/config.yaml"))


def stored_model(run_id: str) -> Path:
    """The directory of a run's logged model. Raises MlflowException or OSError where there is none.

    By the model's own address: `runs:/ID/model` is looked up in MLflow's global store, which may be another one.
    """
    import mlflow.artifacts

    client = open_client(tracking_uri())
    logged = client.get_run(run_id).outputs.model_outputs
    if not logged:
        raise FileNotFoundError("it has no model")
    location = client.get_logged_model(logged[0].model_id).artifact_location
    return Path(mlflow.artifacts.download_artifacts(location, tracking_uri=tracking_uri()))
