"""Fetches what was stored with a run."""

from pathlib import Path

from mlrun.tracking.store import open_client, tracking_uri


def checkpoint_of(run_id: str) -> "Path | None":
    """The best checkpoint of an MLflow run as a local file; None where there is no such run, or no checkpoint in it."""
    from mlflow.exceptions import MlflowException

    try:
        return Path(open_client(tracking_uri()).download_artifacts(run_id, "checkpoints/best.ckpt"))
    except (MlflowException, OSError):
        return None
