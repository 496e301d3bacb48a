"""The interface of a backend: what the experiment asks of a model, whatever it is made of."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.config.identity import is_network

RECIPE = "recipe.json"


@dataclass
class Training:
    """What is known of a training once it is over."""

    parameters: int | None = None
    best_epoch: int | None = None
    # metric -> (epoch, value); epochs count from 1
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def send_again(history: dict[str, list[tuple[int, float]]], run) -> None:
    """Records what an earlier attempt had measured: its process may have died before that was sent. What is there is not written twice."""
    epochs: dict[int, dict[str, float]] = {}
    for name, points in history.items():
        for epoch, value in points:
            epochs.setdefault(epoch, {})[name] = value
    for epoch, metrics in sorted(epochs.items()):
        run.metrics(metrics, step=epoch)


class Learner(ABC):
    """A model with its way of learning. `fit` first, or `load`."""

    monitor: str
    mode: str
    outcome = None  # truth and answers of the last `evaluate`, an `Outcome`; None where answers have no truth to be held against
    training: Training
    packages: tuple[str, ...]  # what a process that loads the saved learner must have installed

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: dict, data) -> Learner:
        """An untrained learner for the prepared data."""

    @abstractmethod
    def fit(self, data, run, directory: Path, progress, resume: Path | None = None) -> None:
        """Trains on the train part, selects on the val part; never looks at the test part. Goes on from the checkpoint `resume`."""

    @abstractmethod
    def evaluate(self, data, part: str) -> dict[str, float]:
        """Metrics on a part, without the part's prefix."""

    @abstractmethod
    def figures(self, data, part) -> Iterator[tuple[str, Any]]:
        """(file name without suffix, matplotlib Figure), from what the last `evaluate` saw, which was `part`."""

    @abstractmethod
    def predict(self, x) -> np.ndarray:
        """Labels, values or codes for raw rows (rows, features) or a DataFrame: what `mlflow.pyfunc` serves."""

    def answers(self, x) -> tuple[np.ndarray, np.ndarray | None]:
        """(what `predict` says, probabilities of the classes in the order of `recipe["labels"]` or None)."""
        return self.predict(x), None

    @contextmanager
    def sharing(self) -> Iterator[int]:
        """For the time of many calls of `answers`: how many threads may call it at once."""
        yield 1

    @abstractmethod
    def _write(self, directory: Path) -> None:
        """Writes what was learned."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, recipe: dict, trust: bool = False) -> Learner:
        """The learner that `save` wrote. Raises UserError for files that can run code, unless this user wrote them or `trust` is given."""

    recipe: dict  # plain containers: all that is needed to build the model again

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        recipe = {**self.recipe, "versions": {package: version(package) for package in self.packages}}
        (directory / RECIPE).write_text(json.dumps(recipe, indent=2, ensure_ascii=False), encoding="utf-8")
        self._write(directory)

    def flavors(self) -> dict[str, dict]:
        """MLflow flavors besides pyfunc that can read the saved files; paths are relative to the saved directory."""
        return {}

    def requirements(self) -> list[str]:
        return [f"{package}=={version(package)}" for package in self.packages]


BACKENDS = {  # resolved when a run needs one: an estimator's run imports neither torch nor lightning
    "network": "mlrun.training.learner:NetworkLearner",
    "controller": "mlrun.estimators.controller:ControllerLearner",
    "estimator": "mlrun.estimators.learner:EstimatorLearner",
}


def _backend(model: dict) -> type[Learner]:
    kind = "network" if is_network(model) else "controller" if "controller" in model else "estimator"
    module, _, name = BACKENDS[kind].partition(":")
    return getattr(import_module(module), name)


def make_learner(cfg: dict, data: Any) -> Learner:
    """The learner that `cfg.model` describes, for prepared data. Raises ConfigError where the two do not fit."""
    return _backend(cfg["model"]).from_config(cfg, data)


def load_learner(directory: Path | str, trust: bool = False) -> Learner:
    """A learner saved by `Learner.save`, ready to predict. Raises UserError for one that can run code and is not this user's own, unless trusted."""
    recipe = json.loads((Path(directory) / RECIPE).read_text(encoding="utf-8"))
    return _backend(recipe["model"]).load(Path(directory), recipe, trust)
