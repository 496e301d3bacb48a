"""Fetches what was stored with a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlrun.tracking.store import open_client, tracking_uri

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each of eight small files


def checkpoint_of(run_id: str) -> Path | None:
    """The best checkpoint of an MLflow run as a local file; None if it cannot be fetched."""
    try:
        with _errors_as_os_error():
            return Path(open_client(tracking_uri()).download_artifacts(run_id, "checkpoints/best.ckpt"))
    except OSError:
        return None


def fetch_checkpoints(run_id: str, folder: Path) -> None:
    """Copies the uploaded checkpoints of an MLflow run into `folder`; those that are missing, or all if MLflow does not answer, are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    client = open_client(tracking_uri())
    for name in ("best.ckpt", "last.ckpt"):
        with suppress(OSError), _errors_as_os_error():
            client.download_artifacts(run_id, f"checkpoints/{name}", str(folder))


def fetch_configuration(run_id: str, directory: Path) -> None:
    """Copies the configuration of an MLflow run into `directory`. Raises OSError if it cannot be fetched."""
    directory.mkdir(parents=True, exist_ok=True)
    with _errors_as_os_error():
        open_client(tracking_uri()).download_artifacts(run_id, "config", str(directory))


def stored_config(run_id: str) -> Path:
    """The resolved configuration of a run as a local file. Raises OSError if it cannot be fetched."""
    with _errors_as_os_error():
        return Path(open_client(tracking_uri()).download_artifacts(run_id, "config/config.yaml"))


def stored_model(run_id: str) -> Path:
    """The logged model of a run as a local directory. Raises OSError if it cannot be fetched.

    The model is found by its own address: `runs:/ID/model` is looked up in MLflow's global store, which may be another one.
    """
    import mlflow.artifacts

    with _errors_as_os_error():
        client = open_client(tracking_uri())
        outputs = client.get_run(run_id).outputs
        if not outputs or not outputs.model_outputs:
            raise FileNotFoundError("it has no model")
        location = client.get_logged_model(outputs.model_outputs[0].model_id).artifact_location
        return Path(mlflow.artifacts.download_artifacts(location, tracking_uri=tracking_uri()))


@contextmanager
def _errors_as_os_error() -> Iterator[None]:
    """Raises MLflow's errors as FileNotFoundError, so that callers need not import mlflow."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise FileNotFoundError(str(error)) from error
