"""Classical methods: scikit-learn estimators, or anything with `fit` and `predict`, behind their preprocessing."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from mlrun.config.instantiate import build, plain
from mlrun.data.datasets.labelled_text import TextData
from mlrun.data.readers.trust import load_pickle, write_pickle
from mlrun.errors import ConfigError, DataError
from mlrun.estimators.roles import ROLES, role_for
from mlrun.evaluation.outcome import Outcome
from mlrun.predictions.learner import Learner, Training

ESTIMATOR = "estimator.pkl"
TRAIN_METRICS_ROWS = (
    20_000  # predicting more training rows than this (nearest neighbours!) would take longer than the fit
)


class EstimatorLearner(Learner):
    """A pipeline: the dataset's preprocessing (a csv's columns), the model's (scaling), the estimator."""

    packages = ("mlrun", "scikit-learn", "pandas")

    def __init__(self, pipeline, recipe: dict):
        self.pipeline, self.recipe = pipeline, recipe
        self.role = ROLES[recipe["role"]](recipe["labels"], recipe["problem"])
        self.monitor, self.mode = self.role.monitor, self.role.mode
        self.training = Training()

    @classmethod
    def from_config(cls, cfg, data):
        from sklearn.pipeline import make_pipeline

        model, spec = plain(cfg["model"]), data.spec
        name = role_for(model, spec)
        facts = {**spec.facts, "problem": spec.problem, "seed": cfg["seed"]}
        # counts of words are on a common scale, and sparse
        scaling = None if isinstance(data, TextData) else model.get("preprocessing")
        steps = [
            data.preprocessor,
            build(scaling, facts, "model.preprocessing"),
            build(model[name], facts, f"model.{name}"),
        ]
        recipe = {
            "model": model,
            "dataset": plain(cfg["dataset"]),
            "labels": spec.labels,
            "problem": spec.problem,
            "role": name,
            "inputs": data.inputs,
        }
        return cls(make_pipeline(*[step for step in steps if step is not None]), recipe)

    def fit(self, data, run, directory, progress, resume=None):
        arrays = data.arrays("train")
        if not len(arrays.x):
            raise DataError(f"{data.name}: no training rows (dataset.split.train)")
        try:
            self.pipeline.fit(arrays.x, self.role.target(arrays.y))
            for part in ("train", "val"):
                if 0 < data.sizes[part] <= (TRAIN_METRICS_ROWS if part == "train" else np.inf):
                    for metric, value in self.evaluate(data, part).items():
                        self.training.history[f"{part}/{metric}"] = [(1, value)]
        except ValueError as error:  # sklearn refuses a parameter or the data
            where = f"model.{self.recipe['role']}"
            raise ConfigError(
                f"{where}: {type(self.estimator).__name__} cannot be fitted to {data.name}: {_one_line(error)}"
            ) from error
        self.training.parameters = self.role.parameters(self.estimator)

    @property
    def estimator(self):
        """The last step of the pipeline."""
        return self.pipeline[-1]

    def evaluate(self, data, part):
        arrays = data.arrays(part)
        return self.role.measure(self.pipeline, arrays.x, arrays.y)

    @property
    def outcome(self):
        found = getattr(self.role, "outcome", None)
        return found if isinstance(found, Outcome) else None

    def figures(self, data, part):
        yield from self.role.figures(self.pipeline, data, part)

    def predict(self, x):
        return self.role.predict(self.pipeline, x)

    def answers(self, x):
        return self.role.answers(self.pipeline, x)

    def flavors(self):
        return {
            "sklearn": {
                "pickled_model": ESTIMATOR,
                "sklearn_version": version("scikit-learn"),
                "serialization_format": "pickle",
                "code": None,
            }
        }

    def _write(self, directory):
        write_pickle(self.pipeline, directory / ESTIMATOR)

    @classmethod
    def load(cls, directory: Path, recipe, trust=False):
        return cls(load_pickle(directory / ESTIMATOR, trust), recipe)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
