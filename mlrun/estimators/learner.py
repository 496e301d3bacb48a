"""Learner of scikit-learn estimators, or anything with `fit` and `predict`, behind a preprocessor."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.config.instantiate import build, plain
from mlrun.data.class_weights import BALANCED, check_classes, class_weights
from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Image, Text
from mlrun.data.inputs import as_examples
from mlrun.data.module import DataModule
from mlrun.data.predictions import Predictions
from mlrun.data.preprocess.preprocessor import Preprocessor, make_preprocessor
from mlrun.data.readers.trust import load_pickle, write_pickle
from mlrun.errors import ConfigError, DataError, UserError
from mlrun.estimators.pieces import fit_in_pieces
from mlrun.estimators.roles import Role, matrix, role_class, role_for
from mlrun.evaluation.evaluator import Evaluator, configured_evaluators
from mlrun.predictions.learner import Learner, Training, features_of
from mlrun.predictions.query import Query, make_queries
from mlrun.report.view import make_views

ESTIMATOR = "estimator.pkl"
TRAIN_METRICS_ROWS = 20_000  # predicting more training rows may take longer than the fit, e.g. with nearest neighbours


class Encode:
    """A preprocessor as the first step of a stored scikit-learn pipeline, which then takes raw rows."""

    def __init__(self, preprocessor: Preprocessor):
        self.preprocessor = preprocessor

    def fit(self, x: Any, y: Any = None) -> Encode:
        """The preprocessor is fitted already."""
        return self

    def transform(self, x: Any) -> Any:
        """Raw rows -> input of the next step."""
        return matrix(self.preprocessor, as_examples(x, self.preprocessor.inputs))

    def __sklearn_is_fitted__(self) -> bool:
        return True


class EstimatorLearner(Learner):
    """A preprocessor, the model's own steps (scaling), the estimator."""

    packages = ("mlrun", "scikit-learn", "pandas")

    def __init__(self, steps: Any, preprocessor: Preprocessor, evaluators: list[Evaluator], recipe: dict[str, Any]):
        self.steps, self.preprocessor, self.evaluators, self.recipe = steps, preprocessor, evaluators, recipe
        target = next(iter(preprocessor.targets.values()), None)
        self.role = role_class(recipe["role"], target)(preprocessor, recipe.get("baseline"))
        metric = recipe["model"].get("monitor") or self.role.monitor
        if metric not in self.directions:
            raise ConfigError(
                f"model.monitor={metric}: no evaluator measures it (they measure {', '.join(self.directions)})"
            )
        self.monitor, self.mode = f"val/{metric}", self.directions[metric]
        self.views = make_views(recipe["model"])
        self.training = Training()

    @classmethod
    def from_config(cls, cfg: dict[str, Any], data: DataModule) -> EstimatorLearner:
        from sklearn.pipeline import make_pipeline

        model = plain(cfg["model"])
        name = role_for(model, data)
        preprocessor = make_preprocessor(model.get("preprocessor"), data, estimator=True)
        spec = {**data.spec, **preprocessor.spec, "seed": cfg["seed"]}
        # counts of words are on a common scale, and sparse
        of_text = any(isinstance(feature, Text) for feature in preprocessor.inputs.values())
        steps = [
            build(None if of_text else model.get("preprocessing"), spec, "model.preprocessing"),
            build(model[name], spec, f"model.{name}"),
        ]
        if model.get("class_weight"):
            check_classes(data)
            if name != "classifier":
                raise ConfigError(
                    f"model.class_weight: only a classifier weighs classes; model {model['name']} is a {name}"
                )
            if data.in_pieces("train") is None:  # otherwise the rows of each piece have weights
                weigh_classes(steps[-1])
        role = role_class(name, data.target)
        steps[-1] = role(preprocessor).of_targets(steps[-1])
        recipe = {"model": model, "dataset": plain(cfg["dataset"]), "role": name, **features_of(data)}
        evaluators = configured_evaluators(model, data.target, evaluators_of(model, role))
        return cls(make_pipeline(*[step for step in steps if step is not None]), preprocessor, evaluators, recipe)

    def fit(self, data: DataModule, run: Any, directory: Path, progress: Any, resume: Path | None = None) -> None:
        pieces = data.in_pieces("train")
        try:
            if pieces is None:
                self._fit_at_once(data)
            else:
                weighted = bool(self.recipe["model"].get("class_weight"))
                fit_in_pieces(self.steps, self.role, data, pieces, class_weights(data) if weighted else None)
            for part in ("train", "val"):
                if 0 < data.sizes[part] <= (TRAIN_METRICS_ROWS if part == "train" else np.inf):
                    for metric, value in self.evaluate(data, part).metrics.items():
                        self.training.history[f"{part}/{metric}"] = [(1, value)]
        except ValueError as error:  # sklearn refuses a parameter or the data
            where, reason = f"model.{self.recipe['role']}", " ".join(str(error).split())
            raise ConfigError(
                f"{where}: {type(self.estimator).__name__} cannot be fitted to {data.title}: {reason}"
            ) from error
        self.training.parameters = self.role.parameters(self.estimator)

    def _fit_at_once(self, data: DataModule) -> None:
        examples, weights = data.examples("train"), {}
        if self.recipe["model"].get("class_weight") and not _own_weights(self.estimator):
            rows = class_weights(data)[examples[data.targets[0]]]
            weights = {f"{self.steps.steps[-1][0]}__sample_weight": rows}
        self.steps.fit(self.role.rows(data, "train"), self.role.target(examples), **weights)

    @property
    def estimator(self) -> Any:
        """The last step."""
        return self.steps[-1]

    def rows(self, examples: Examples) -> Any:
        """Encoded input rows, before the other steps of the pipeline, (rows, features)."""
        return matrix(self.preprocessor, examples)

    def seen(self, examples: Examples) -> Any:
        """Input rows of the estimator, (rows, features)."""
        x = self.rows(examples)
        return self.steps[:-1].transform(x) if len(self.steps) > 1 else x

    @property
    def queries(self) -> list[Query]:
        return make_queries({**self.role.queries, **getattr(self.estimator, "queries", {})})

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the estimator's input columns; None if they have none."""
        encoders = getattr(self.preprocessor, "encoders", {})
        names = [one for name in self.preprocessor.inputs if name in encoders for one in encoders[name].names]
        if len(self.steps) == 1:
            return names or None
        try:
            return [str(name).split("__")[-1] for name in self.steps[:-1].get_feature_names_out(names or None)]
        except (AttributeError, ValueError):
            return None

    @property
    def image_shape(self) -> list[int] | None:
        """[channels, height, width] if the rows are flattened images, else None."""
        features: list[Feature] = list(self.preprocessor.inputs.values())
        return features[0].shape if len(features) == 1 and isinstance(features[0], Image) else None

    def _seen(self, examples: Examples) -> dict[str, Any]:
        return {"features": self.seen(examples)} if any(one.needs_batch for one in self.evaluators) else {}

    def _answered(self, examples: Examples) -> Predictions | None:
        return self.predict(examples) if self.role.predicts_examples else None

    def predict(self, examples: Examples) -> Predictions:
        if not len(examples):  # which scikit-learn does not take
            raise DataError("there are no rows")
        return self.role.predict(self.steps, self.rows(examples))

    def flavors(self) -> dict[str, dict[str, Any]]:
        return {
            "sklearn": {
                "pickled_model": ESTIMATOR,
                "sklearn_version": version("scikit-learn"),
                "serialization_format": "pickle",
                "code": None,
            }
        }

    def _write(self, directory: Path) -> None:
        from sklearn.pipeline import Pipeline

        steps = list(self.steps.steps)
        if learns(self.preprocessor):
            steps.insert(0, ("encode", Encode(self.preprocessor)))
        write_pickle(Pipeline(steps), directory / ESTIMATOR)

    @classmethod
    def load(cls, directory: Path, recipe: dict[str, Any], trust: bool = False) -> EstimatorLearner:
        from sklearn.pipeline import Pipeline

        from mlrun.data.features import restore_all
        from mlrun.data.preprocess.preprocessor import FeaturePreprocessor

        pipeline = load_pickle(directory / ESTIMATOR, trust)
        if not isinstance(pipeline, Pipeline):
            raise UserError(
                f"{directory / ESTIMATOR} holds a {type(pipeline).__name__}, not a fitted scikit-learn pipeline"
            )
        if isinstance(pipeline[0], Encode):
            preprocessor, steps = pipeline[0].preprocessor, pipeline[1:]
        else:
            inputs, targets = (restore_all(recipe[side]) for side in ("inputs", "targets"))
            preprocessor, steps = FeaturePreprocessor(inputs, targets, estimator=True), pipeline
        target = next(iter(preprocessor.targets.values()), None)
        evaluators = configured_evaluators(
            recipe["model"], target, evaluators_of(recipe["model"], role_class(recipe["role"], target))
        )
        return cls(steps, preprocessor, evaluators, recipe)


def weigh_classes(estimator: Any) -> None:
    """Makes an estimator weigh the classes, if it or one that it contains has an argument for that; others get weights of rows in `fit`.

    Raises ConfigError if it knows neither.
    """
    from sklearn.utils.validation import has_fit_parameter

    own = _own_weights(estimator)
    if own:
        estimator.set_params(**dict.fromkeys(own, BALANCED))
    elif not has_fit_parameter(estimator, "sample_weight"):
        raise ConfigError(f"model.class_weight: {type(estimator).__name__} takes no weights of classes or rows")


def _own_weights(estimator: Any) -> list[str]:
    """Names of the estimator's arguments for weights of classes."""
    return [name for name in estimator.get_params() if name.rpartition("__")[2] == "class_weight"]


def evaluators_of(model: dict[str, Any], role: type[Role]) -> list[Any]:
    """The evaluators of the YAML, or else the default ones of the role."""
    listed = model.get("evaluators")
    return list(role.evaluators) if listed is None else listed


def learns(preprocessor: Preprocessor) -> bool:
    """Whether the preprocessor transforms rows before they reach the estimator."""
    from mlrun.data.preprocess.arrays import RawEncoder

    encoders = getattr(preprocessor, "encoders", {})
    inputs = [encoders.get(name) for name in preprocessor.inputs]
    return len(inputs) != 1 or not isinstance(inputs[0], RawEncoder)
