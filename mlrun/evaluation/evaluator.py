"""Evaluators: what a model is measured by. One file per evaluator; a model's YAML lists them.

`evaluators: [classification]` names the file `mlrun/evaluation/classification.py`, and its `Evaluator`. An evaluator of your own is named by its
dotted path (`mine.Rooms`), or with settings as a node with `_target_`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

from mlrun.config.instantiate import build
from mlrun.data.examples import Examples
from mlrun.data.features import Feature
from mlrun.data.predictions import Predictions
from mlrun.errors import ConfigError


class Better(str, Enum):
    """Which direction of a metric is better; the value is Lightning's word for it."""

    LARGER = "max"
    SMALLER = "min"


@dataclass
class Subject:
    """What is measured. model: the learner; data, part: of which rows; reference_classifier: a function that gives a classifier of the same
    data, trained when it is first asked for, or None where there are no classes; in_training: after an epoch, where an evaluator may
    measure less than of a finished model."""

    model: Any
    data: Any
    part: str
    reference_classifier: Callable[[], Any] | None = None
    in_training: bool = False


class Evaluator(ABC):
    """Measures a model on a part of the data: `begin`, then `update` batch by batch, then `compute`.

    An evaluator that brings its own data (episodes, word pairs, a retrieval set) does its work in `compute` and ignores `update`.
    """

    metrics: ClassVar[Mapping[str, Better]]  # every metric that `compute` may give, with its direction
    every_epoch: bool = True  # False: only at the end, not after every epoch on the validation part
    needs_batch: ClassVar[bool] = (
        False  # of an estimator: True where `update` wants the rows as the estimator sees them
    )
    needs_predictions: ClassVar[bool] = True  # False: `update` gets None for them, and no time is spent on predicting

    def suits(self, target: Feature | None) -> bool:
        """Whether it can measure predictions of this target; those that cannot are left out."""
        return True

    def begin(self, subject: Subject) -> None:
        """Forgets what was measured before."""
        self.subject = subject

    def update(self, batch: Mapping[str, Any], examples: Examples | None, predictions: Predictions | None) -> None:
        """A batch as the network is fed, the examples that it was made of, targets included, and what the model predicts for them."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Metrics by name, without the part's prefix."""


def make_evaluators(entries: Sequence[Any] | None, target: Feature | None = None) -> list[Evaluator]:
    """The evaluators of a model's YAML that suit the dataset's target; None: those that usually measure it.

    Raises ConfigError for a name that does not exist.
    """
    entries = entries if entries is not None or target is None else target.evaluators
    found = [_evaluator(entry, f"model.evaluators[{at}]") for at, entry in enumerate(entries or ())]
    return [one for one in found if one.suits(target)]


def directions(evaluators: Iterable[Evaluator]) -> dict[str, str]:
    """Metric -> "max" or "min"."""
    return {name: better.value for one in evaluators for name, better in one.metrics.items()}


def _evaluator(entry: Any, path: str) -> Evaluator:
    if isinstance(entry, Evaluator):
        return entry
    if isinstance(entry, Mapping):
        return build(entry, path=path)
    return build({"_target_": entry if "." in entry else _by_name(entry, path)}, path=path)


def _by_name(name: str, path: str) -> str:
    import mlrun.evaluation as package

    known = [module.name for module in iter_modules(package.__path__)]
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise ConfigError(
            f"{path}={name}: there is no such evaluator" + (f" — did you mean '{near[0]}'?" if near else "")
        )
    module = import_module(f"mlrun.evaluation.{name}")
    own = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Evaluator) and one.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise ConfigError(
            f"{path}={name}: mlrun.evaluation.{name} has {len(own)} evaluators; name one by its dotted path"
        )
    return f"{own[0].__module__}.{own[0].__qualname__}"
