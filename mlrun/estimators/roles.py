"""Roles of estimators: the data that they are fitted to, and the kind of their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label, Labels, Text, Value, Values
from mlrun.data.predictions import (
    AnomalyPredictions,
    GroupPredictions,
    LabelPredictions,
    LabelsPredictions,
    Predictions,
    SeveralValuesPredictions,
    ValuePredictions,
    VectorPredictions,
)
from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from mlrun.data.datasets.text_file import TextStream
    from mlrun.data.module import DataModule
    from mlrun.data.preprocess.preprocessor import Preprocessor
    from mlrun.data.preprocess.streams import StreamPreprocessor


class Role:
    """Base of all roles. preprocessor: provides the input of the estimator."""

    monitor: ClassVar[str]
    evaluators: ClassVar[tuple[str, ...]]
    queries: ClassVar[Mapping[str, str]] = {}  # name -> dotted path of a `Query`, see `Task.queries`
    predicts_examples: ClassVar[bool] = True  # False: evaluation needs no predictions of examples

    def __init__(self, preprocessor: Preprocessor, baseline: Mapping[str, Any] | None = None):
        self.preprocessor, self.baseline = preprocessor, dict(baseline or {})  # see `features_of`
        # the target of the dataset, None if there is none
        self.feature: Feature | None = next(iter(preprocessor.targets.values()), None)

    def of_targets(self, estimator: Any) -> Any:
        """The estimator as it is fitted; of several targets, one for each."""
        return estimator

    def rows(self, data: DataModule, part: str) -> Any:
        """Input rows of a part, for fitting and evaluation."""
        return matrix(self.preprocessor, data.examples(part))

    def target(self, examples: Examples) -> Any:
        """The target for fitting; None for unsupervised estimators."""
        return None

    def predict(self, steps: Any, x: Any) -> Predictions:
        """Predictions of a fitted pipeline `steps` for input rows x."""
        raise NotImplementedError

    def parameters(self, estimator: Any) -> int | None:
        """Number of learned parameters, None if it is not meaningful."""
        if hasattr(estimator, "coef_") and hasattr(estimator, "intercept_"):
            return int(np.size(estimator.coef_) + np.size(estimator.intercept_))
        return None


class Classifier(Role):
    """Fitted to the original labels, so that the pipeline predicts them when used without mlrun."""

    monitor, evaluators = "accuracy", ("classification",)
    feature: Label

    @property
    def classes(self) -> np.ndarray:
        return np.asarray(self.feature.classes)

    def target(self, examples: Examples) -> np.ndarray:
        column = next(examples[name] for name, feature in examples.features.items() if isinstance(feature, Label))
        return self.classes[column]

    def predict(self, steps: Any, x: Any) -> LabelPredictions:
        answers, probabilities = steps.predict(x), None
        if hasattr(steps, "predict_proba"):
            probabilities = np.zeros((len(answers), len(self.classes)))  # a class may be absent from the training rows
            probabilities[:, self._indices(steps.classes_)] = steps.predict_proba(x)
        return LabelPredictions(self.feature.classes, self._indices(answers), probabilities)

    def _indices(self, labels: Any) -> np.ndarray:
        places = {label: place for place, label in enumerate(self.classes.tolist())}
        return np.array([places[label] for label in np.asarray(labels).tolist()], dtype=np.int64)


class Regressor(Role):
    monitor, evaluators = "rmse", ("regression",)

    def target(self, examples: Examples) -> np.ndarray:
        return next(examples[name] for name, feature in examples.features.items() if isinstance(feature, Value))

    def predict(self, steps: Any, x: Any) -> ValuePredictions:
        return ValuePredictions(np.asarray(steps.predict(x), dtype=np.float64).reshape(-1))


class LabelsClassifier(Role):
    """A classifier for each of several labels (binary relevance)."""

    monitor, evaluators = "map", ("multi_label",)
    feature: Labels

    def of_targets(self, estimator: Any) -> Any:
        from sklearn.multioutput import MultiOutputClassifier

        return MultiOutputClassifier(estimator)

    def target(self, examples: Examples) -> np.ndarray:
        column = next(examples[name] for name, feature in examples.features.items() if isinstance(feature, Labels))
        return np.asarray(column, dtype=np.int64)

    def predict(self, steps: Any, x: Any) -> LabelsPredictions:
        chances = np.zeros((len(self.feature.classes), x.shape[0]))
        if hasattr(steps, "predict_proba"):
            for at, (estimator, own) in enumerate(zip(steps[-1].estimators_, steps.predict_proba(x))):
                # no training row may have a label, or all may have it; the shape of `own` then depends on the estimator
                alike = len(estimator.classes_) == 1
                chances[at] = estimator.classes_[0] if alike else own @ (estimator.classes_ == 1)
        else:
            chances[:] = steps.predict(x).T
        return LabelsPredictions(self.feature.classes, chances.T, np.full(len(self.feature.classes), 0.5))


class ValuesRegressor(Role):
    """A regressor for each of several values."""

    monitor, evaluators = "r2", ("several_values",)
    feature: Values

    def of_targets(self, estimator: Any) -> Any:
        from sklearn.multioutput import MultiOutputRegressor

        return MultiOutputRegressor(estimator)

    def target(self, examples: Examples) -> np.ndarray:
        return next(examples[name] for name, feature in examples.features.items() if isinstance(feature, Values))

    def predict(self, steps: Any, x: Any) -> SeveralValuesPredictions:
        return SeveralValuesPredictions(self.feature.names, np.asarray(steps.predict(x), dtype=np.float64))


class Clusterer(Role):
    """Unsupervised; evaluation compares the clusters with classes if there are any."""

    monitor, evaluators = "silhouette", ("clustering",)

    def predict(self, steps: Any, x: Any) -> GroupPredictions:
        return GroupPredictions(steps.predict(x))

    def parameters(self, estimator: Any) -> int | None:
        learned = [getattr(estimator, name, ()) for name in ("cluster_centers_", "means_", "covariances_", "weights_")]
        return sum(int(np.size(one)) for one in learned) or None


class Decomposer(Role):
    """Dimensionality reduction."""

    monitor, evaluators = "reconstruction_error", ("decomposition",)

    def predict(self, steps: Any, x: Any) -> VectorPredictions:
        return VectorPredictions(steps.transform(x))

    def parameters(self, estimator: Any) -> int | None:
        return int(np.size(getattr(estimator, "components_", ()))) or None


class Detector(Role):
    """Anomaly detection: fitted to the rows of one class, the most frequent one, which counts as normal."""

    monitor, evaluators = "roc_auc", ("anomalies",)
    feature: Label

    def rows(self, data: DataModule, part: str) -> Any:
        examples = data.examples(part)
        normal = examples[data.targets[0]] == self.baseline["label"]
        return matrix(self.preprocessor, examples.take(np.flatnonzero(normal)))

    def predict(self, steps: Any, x: Any) -> AnomalyPredictions:
        return AnomalyPredictions(self.baseline["label"], -steps.decision_function(x), steps.predict(x) < 0)


class LanguageModel(Role):
    """Learns from the tokens of a text, and generates continuations of prompts."""

    monitor, evaluators = "perplexity", ("perplexity",)
    queries = {"prompt": "mlrun.predictions.prompt.Prompt"}
    predicts_examples = False
    preprocessor: StreamPreprocessor

    def rows(self, data: TextStream, part: str) -> np.ndarray:  # type: ignore[override]  # see `role_for`
        return data.stream(part, self.preprocessor).tokens

    def predict(self, steps: Any, x: list[np.ndarray]) -> Predictions:
        """x: token ids of prompts (tokens,)."""
        return self.preprocessor.decode({"sequences": steps[-1].predict(x)})

    def parameters(self, estimator: Any) -> int | None:
        return estimator.parameters


ROLES: dict[str, type[Role]] = {
    "classifier": Classifier,
    "regressor": Regressor,
    "clusterer": Clusterer,
    "decomposer": Decomposer,
    "detector": Detector,
    "language_model": LanguageModel,
}


SEVERAL: dict[tuple[str, type[Feature]], type[Role]] = {  # of several targets
    ("classifier", Labels): LabelsClassifier,
    ("regressor", Values): ValuesRegressor,
}


def role_class(name: str, target: Feature | None) -> type[Role]:
    """The role of an estimator for a target. name: a key of ROLES."""
    return SEVERAL.get((name, type(target)), ROLES[name])


def role_for(model: Mapping[str, Any], data: DataModule) -> str:
    """The key of the model's estimator for these data. Raises ConfigError if there is none."""
    target = data.target
    if target is None and [type(data.features[name]) for name in data.inputs] == [Text]:
        wanted = "language_model"
    else:
        wanted = {Label: "classifier", Labels: "classifier", Value: "regressor", Values: "regressor"}.get(type(target))
    for name in (wanted, "clusterer", "decomposer", *(["detector"] if isinstance(target, Label) else [])):
        if name in model:
            return name
    offered = [name for name in ROLES if name in model]
    raise ConfigError(
        f"model {model.get('name', '')} has {' and '.join(offered) or 'no estimator'}, but the dataset's problem is {data.problem}. "
        f"Choose another model, or set dataset.problem."
    )


def matrix(preprocessor: Preprocessor, examples: Examples) -> Any:
    """(rows, features) of all inputs, concatenated; the encoding of a single input is unchanged."""
    encoded = preprocessor.encode(examples.only([name for name in preprocessor.inputs if name in examples]))
    parts = list(encoded.values())
    if len(parts) == 1:
        return parts[0]
    if any(hasattr(part, "tocsr") for part in parts):
        from scipy.sparse import hstack

        return hstack(parts).tocsr()
    return np.hstack(parts)
