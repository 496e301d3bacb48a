"""Trainings in this process, without MLflow."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any


class Nobody:
    """A tracked run that nobody reads."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: None


def prepared(*overrides: str) -> tuple[dict[str, Any], Any]:
    """The configuration of a command line, and its prepared data. One thread."""
    from mlrun.config.compose import compose
    from mlrun.config.instantiate import build, plain

    cfg = plain(compose(["trainer.threads=1", *overrides]))
    about = {"seed": cfg["seed"], "data_dir": cfg["data_dir"], "name": cfg["dataset"]["name"]}
    data = build(cfg["dataset"], about, "dataset")
    data.prepare()
    return cfg, data


def trained(*overrides: str) -> tuple[Any, Any, float]:
    """(learner, data, CPU seconds of the training)."""
    from mlrun.predictions.learner import make_learner
    from mlrun.report import silent

    cfg, data = prepared(*overrides)
    learner = make_learner(cfg, data)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        learner.fit(data, Nobody(), Path(folder), silent.Progress())
    return learner, data, time.process_time() - start
