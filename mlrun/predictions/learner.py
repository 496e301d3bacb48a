"""The learner interface, through which an experiment trains, evaluates and stores any kind of model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.config.constructor_errors import reason_of
from mlrun.config.identity import is_network
from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label, Value, restore
from mlrun.data.module import DataModule
from mlrun.data.predictions import Predictions
from mlrun.data.readers.trust import check_code, has_signature, with_signature
from mlrun.errors import UserError
from mlrun.evaluation.evaluator import Evaluator, Subject, directions

if TYPE_CHECKING:
    from mlrun.data.preprocess.preprocessor import Preprocessor
    from mlrun.predictions.query import Query
    from mlrun.report.view import View

RECIPE = "recipe.json"


@dataclass
class Training:
    """The outcome of training. history: metric -> (epoch, value), epochs counted from 1."""

    parameters: int | None = None
    best_epoch: int | None = None
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def reported_epoch(self) -> int:
        """The epoch whose model is evaluated: the best one, or else the last; 0 if nothing was measured while training."""
        if self.best_epoch is not None:
            return self.best_epoch
        return max((epoch for points in self.history.values() for epoch, _ in points), default=0)


@dataclass
class Evaluation:
    """Metrics and predictions of a model on one part of the data.

    metrics: by name, without the part's prefix. examples, predictions: of the same rows in the same order; None if no rows were predicted.
    evaluators: class name -> the evaluator, with what it collected.
    """

    part: str
    metrics: dict[str, float]
    examples: Examples | None = None
    predictions: Predictions | None = None
    evaluators: dict[str, Evaluator] = field(default_factory=dict)


def send_again(history: Mapping[str, Sequence[tuple[int, float]]], run: Any) -> None:
    """Sends the metrics of an earlier attempt again, whose process may have died before it sent them. The recorder skips those that it has."""
    epochs: dict[int, dict[str, float]] = {}
    for name, points in history.items():
        for epoch, value in points:
            epochs.setdefault(epoch, {})[name] = value
    for epoch, metrics in sorted(epochs.items()):
        run.metrics(metrics, step=epoch)


class Learner(ABC):
    """A model and its training algorithm. Call `fit` or `load` before the other methods.

    recipe: plain containers from which the model can be rebuilt, including the features that it reads and predicts.
    """

    packages: ClassVar[tuple[str, ...]]  # must be installed where the saved learner is loaded
    monitor: str  # "val/" and the metric that selects the best epoch
    mode: str  # "max" or "min"
    recipe: dict[str, Any]
    training: Training
    evaluators: list[Evaluator]
    views: list[View]  # figures of the model
    preprocessor: Preprocessor  # makes the model's inputs; a controller has none
    task: Any  # networks only

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: dict[str, Any], data: DataModule) -> Learner:
        """An untrained learner for the prepared data."""

    @abstractmethod
    def fit(self, data: DataModule, run: Any, directory: Path, progress: Any, resume: Path | None = None) -> None:
        """Trains on the train part and selects on the val part; never uses the test part. Resumes from the checkpoint `resume`."""

    def evaluate(self, data: DataModule, part: str, reference_classifier: Any = None) -> Evaluation:
        """Metrics and predictions on a part, here of all rows at once. reference_classifier: see `Subject`."""
        examples = data.examples(part)
        if not len(examples):
            return Evaluation(part, {})
        batch, predictions = self._seen(examples), self._answered(examples)
        metrics: dict[str, float] = {}
        for one in self.evaluators:
            one.begin(Subject(self, data, part, reference_classifier))
            one.update(batch, examples, predictions)
            metrics |= one.compute()
        evaluators = {type(one).__name__: one for one in self.evaluators}
        return Evaluation(part, metrics, None if predictions is None else examples, predictions, evaluators)

    def _seen(self, examples: Examples) -> dict[str, Any]:
        """The batch that evaluators receive."""
        return {}

    def _answered(self, examples: Examples) -> Predictions | None:
        """The predictions that evaluators receive; None for a model that answers no examples."""
        return self.predict(examples)

    def validate(self, data: DataModule) -> dict[str, float]:
        """Metrics of the trained model on the val part, by name, that are not measured after every epoch."""
        return {}

    @abstractmethod
    def predict(self, examples: Examples) -> Predictions:
        """Raw inputs -> predictions. Every use of a stored model goes through this method."""

    @property
    def directions(self) -> dict[str, str]:
        """Metric -> "max" or "min", for every metric of the model."""
        return directions(*(evaluator.metrics for evaluator in self.evaluators))

    @property
    def loss_name(self) -> str | None:
        """See `Task.loss_name`."""
        return None

    @property
    def queries(self) -> list[Query]:
        """What the model can be asked for besides predictions of rows."""
        return []

    @property
    def open_set(self) -> bool:
        """Whether the model also reads examples of classes that training did not have."""
        return False

    @property
    def inputs(self) -> dict[str, Feature]:
        """The features that the model reads; empty if it does not predict rows."""
        return {name: restore(state) for name, state in self.recipe.get("inputs", {}).items()}

    @property
    def targets(self) -> dict[str, Feature]:
        """The features that the model predicts."""
        return {name: restore(state) for name, state in self.recipe.get("targets", {}).items()}

    @contextmanager
    def sharing(self) -> Iterator[int]:
        """A context for many calls of `predict`; gives how many threads may call it at once."""
        yield 1

    @abstractmethod
    def _write(self, directory: Path) -> None:
        """Writes weights or fitted estimators."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, recipe: dict[str, Any], trust: bool = False) -> Learner:
        """Loads what `save` wrote. Raises UserError for files that can run code, unless this user wrote them or `trust` is given."""

    def save(self, directory: Path) -> None:
        """Writes the model and its recipe into a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        recipe = {**self.recipe, "versions": {package: version(package) for package in self.packages}}
        text = json.dumps(with_signature(recipe), indent=2, ensure_ascii=False)
        (directory / RECIPE).write_text(text, encoding="utf-8")
        self._write(directory)

    def flavors(self) -> dict[str, dict[str, Any]]:
        """MLflow flavors besides pyfunc that can read the saved files; paths are relative to the model's directory."""
        return {}

    def requirements(self) -> list[str]:
        """Packages with the versions with which the model was trained."""
        return [f"{package}=={version(package)}" for package in self.packages]


def features_of(data: DataModule) -> dict[str, Any]:
    """`inputs`, `targets`, `baseline` and `positive` of a recipe.

    baseline: what predicts best without any input: `label` or `value`. positive: the index of the positive one of two classes, else None.
    """
    features, target = data.features, data.target
    baseline: dict[str, Any] = {}
    if isinstance(target, (Label, Value)) and len(train := data.examples("train")):
        known = np.asarray(train[data.targets[0]])
        if isinstance(target, Label):
            baseline["label"] = int(np.bincount(known).argmax())
        else:
            baseline["value"] = float(known.mean())
    return {
        "inputs": {name: features[name].state() for name in data.inputs},
        "targets": {name: features[name].state() for name in data.targets},
        "baseline": baseline,
        "positive": data.positive,
    }


BACKENDS = {  # resolved when a run needs one: an estimator's run imports neither torch nor lightning
    "network": "mlrun.training.learner:NetworkLearner",
    "controller": "mlrun.estimators.controller:ControllerLearner",
    "retriever": "mlrun.estimators.retrieval:RetrievalLearner",
    "prompting": "mlrun.estimators.prompting:PromptLearner",
    "estimator": "mlrun.estimators.learner:EstimatorLearner",
}


def _backend(model: Mapping[str, Any]) -> type[Learner]:
    parts = (name for name in ("controller", "retriever", "prompting") if name in model)
    kind = "network" if is_network(model) else next(parts, "estimator")
    module, _, name = BACKENDS[kind].partition(":")
    return getattr(import_module(module), name)


def make_learner(cfg: dict[str, Any], data: DataModule) -> Learner:
    """The learner that `cfg.model` describes, for prepared data. Raises ConfigError if the model cannot work on the data."""
    return _backend(cfg["model"]).from_config(cfg, data)


def load_learner(directory: Path | str, trust: bool = False) -> Learner:
    """A learner saved by `Learner.save`, ready to predict. Raises UserError for damaged files, and for another user's files that can run code, unless `trust` is given."""
    path = Path(directory) / RECIPE
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(recipe, dict) or not isinstance(recipe.get("model"), dict):
        raise UserError(f"{path} is damaged: it does not describe a model")
    check_code(recipe, path, has_signature(recipe), trust)
    try:
        return _backend(recipe["model"]).load(Path(directory), recipe, trust)
    except UserError:
        raise
    except Exception as error:  # any part of a damaged description may be missing or of another type
        raise UserError(f"{directory}: the model cannot be loaded from its files: {reason_of(error)}") from error
