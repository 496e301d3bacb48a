"""What an estimator is for: what it is fitted to, and what its answers are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label, Text, Value
from mlrun.data.predictions import (
    GroupPredictions,
    LabelPredictions,
    Predictions,
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
    """Base of all roles. preprocessor: what feeds the estimator."""

    monitor: ClassVar[str]
    evaluators: ClassVar[tuple[str, ...]]
    queries: ClassVar[Mapping[str, str]] = {}  # name -> dotted path of a `Query`, see `Task.queries`
    predicts_examples: ClassVar[bool] = True  # False: evaluation asks for no predictions of the examples of a part

    def __init__(self, preprocessor: Preprocessor):
        self.preprocessor = preprocessor
        # what the dataset would have predicted, None where it has no target
        self.feature: Feature | None = next(iter(preprocessor.targets.values()), None)

    def rows(self, data: DataModule, part: str) -> Any:
        """What the estimator is fitted to, and sees of a part."""
        return matrix(self.preprocessor, data.examples(part))

    def target(self, examples: Examples) -> Any:
        """What the estimator is fitted to besides the rows; None for one that sees no target."""
        return None

    def predict(self, steps: Any, x: Any) -> Predictions:
        """steps: the fitted pipeline. x: rows as its first step takes them."""
        raise NotImplementedError

    def parameters(self, estimator: Any) -> int | None:
        """How many numbers it learned, None where that says nothing."""
        if hasattr(estimator, "coef_") and hasattr(estimator, "intercept_"):
            return int(np.size(estimator.coef_) + np.size(estimator.intercept_))
        return None


class Classifier(Role):
    """Fitted to the original labels, so that a pipeline that is used without mlrun answers with them."""

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


class Clusterer(Role):
    """Sees no labels; where the data have classes, the clusters are compared with them."""

    monitor, evaluators = "silhouette", ("clustering",)

    def predict(self, steps: Any, x: Any) -> GroupPredictions:
        return GroupPredictions(steps.predict(x))

    def parameters(self, estimator: Any) -> int | None:
        return int(np.size(getattr(estimator, "cluster_centers_", ()))) or None


class Decomposer(Role):
    """Fewer numbers for the same rows."""

    monitor, evaluators = "reconstruction_error", ("decomposition",)

    def predict(self, steps: Any, x: Any) -> VectorPredictions:
        return VectorPredictions(steps.transform(x))

    def parameters(self, estimator: Any) -> int | None:
        return int(np.size(getattr(estimator, "components_", ()))) or None


class LanguageModel(Role):
    """Learns from the tokens of a text, and continues prompts."""

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
    "language_model": LanguageModel,
}


def role_for(model: Mapping[str, Any], data: DataModule) -> str:
    """The key of the estimator that `model` offers for these data. Raises ConfigError naming both where there is none."""
    target = data.target
    if target is None and [type(data.features[name]) for name in data.inputs] == [Text]:
        wanted = "language_model"
    else:
        wanted = {Label: "classifier", Value: "regressor"}.get(type(target))
    for name in (wanted, "clusterer", "decomposer"):
        if name in model:
            return name
    offered = [name for name in ROLES if name in model]
    raise ConfigError(
        f"model {model.get('name', '')} has {' and '.join(offered) or 'no estimator'}, but the dataset's problem is {data.problem}. "
        f"Choose another model, or set dataset.problem."
    )


def matrix(preprocessor: Preprocessor, examples: Examples) -> Any:
    """(rows, features) of all inputs side by side; what one input gives stays as it is."""
    encoded = preprocessor.encode(examples.only([name for name in preprocessor.inputs if name in examples]))
    parts = list(encoded.values())
    if len(parts) == 1:
        return parts[0]
    if any(hasattr(part, "tocsr") for part in parts):
        from scipy.sparse import hstack

        return hstack(parts).tocsr()
    return np.hstack(parts)
