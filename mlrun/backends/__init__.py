"""How a model is trained, measured, saved and loaded: networks through Lightning, estimators through scikit-learn, controllers by acting.

A backend is imported only when a run needs it: an estimator's run imports neither torch nor lightning.
"""

import json
from pathlib import Path

from mlrun.backends.learner import RECIPE, Learner
from mlrun.config.identity import is_network


def _backend(model: dict) -> "type[Learner]":
    if is_network(model):
        from mlrun.backends.lightning import NetworkLearner

        return NetworkLearner
    if "controller" in model:
        from mlrun.backends.control import ControllerLearner

        return ControllerLearner
    from mlrun.backends.sklearn import EstimatorLearner

    return EstimatorLearner


def make_learner(cfg, data) -> Learner:
    """The learner that `cfg.model` describes, for prepared data. Raises ConfigError where the two do not fit."""
    return _backend(cfg["model"]).from_config(cfg, data)


def load_learner(directory: "Path | str", trust: bool = False) -> Learner:
    """A learner saved by `Learner.save`, ready to predict. Raises UserError for one that can run code and is not this user's own, unless trusted."""
    recipe = json.loads((Path(directory) / RECIPE).read_text(encoding="utf-8"))
    return _backend(recipe["model"]).load(Path(directory), recipe, trust)
