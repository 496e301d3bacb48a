"""A finished run, found again: its configuration and its model."""

from pathlib import Path

import yaml

from mlrun.errors import UserError


def open_run(run: str) -> "tuple[dict, object]":
    """(configuration, learner ready to predict and evaluate) of a run directory or an MLflow run id. Raises UserError."""
    directory = Path(run)
    if directory.is_dir():
        config, model = directory / "config" / "config.yaml", directory / "model"
    else:
        config, model = _from_mlflow(run)
    if not config.is_file() or not model.is_dir():
        raise UserError(f"{run}: this run was not finished: there is no {'model' if config.is_file() else 'configuration'} in it")
    from mlrun.backends import load_learner

    return yaml.safe_load(config.read_text(encoding="utf-8")), load_learner(model)


def open_data(cfg: dict, **settings):
    """The prepared dataset of a configuration, with some of its settings replaced."""
    from mlrun.config.instantiate import build

    dataset = {**cfg["dataset"], **settings}
    data = build(dataset, {"seed": cfg["seed"], "data_dir": cfg["data_dir"], "name": dataset["name"]}, "dataset")
    data.prepare()
    return data


def _from_mlflow(run_id: str) -> "tuple[Path, Path]":
    from mlflow.exceptions import MlflowException

    from mlrun.backends.learner import RECIPE
    from mlrun.tracking.artifacts import stored_config, stored_model
    from mlrun.tracking.store import tracking_uri

    try:
        config, model = stored_config(run_id), stored_model(run_id)
    except (MlflowException, OSError) as error:
        raise UserError(f"{run_id}: neither a run directory nor a finished run at {tracking_uri()}: {' '.join(str(error).split())}") from None
    recipes = sorted(model.rglob(RECIPE))
    return config, recipes[0].parent if recipes else model / "absent"
