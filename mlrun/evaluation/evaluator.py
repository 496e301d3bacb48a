"""Evaluators compute the metrics of a model. One file per evaluator; a model's YAML lists them.

`evaluators: [classification]` refers to the `Evaluator` in `mlrun/evaluation/classification.py`. A custom evaluator is given by its
dotted path (`mine.Rooms`), or with settings as a node with `_target_`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

from mlrun.config.instantiate import build
from mlrun.data.features import Feature
from mlrun.errors import ConfigError


class Better(str, Enum):
    """The better direction of a metric; the value is Lightning's `mode`."""

    LARGER = "max"
    SMALLER = "min"
    NEITHER = ""  # describes a model, but ranks none: no checkpoint, search or leaderboard can use it unasked


@dataclass
class Subject:
    """The model and data to evaluate.

    model: the learner. data, part: the rows. reference_classifier: a function that returns a classifier of the same data and trains it on
    the first call, or None without classes. in_training: after an epoch, when an evaluator may compute less than for a trained model.
    """

    model: Any
    data: Any
    part: str
    reference_classifier: Callable[[], Any] | None = None
    in_training: bool = False


class Evaluator(ABC):
    """Measures a model on a part of the data: `begin`, then `update` batch by batch, then `compute`.

    An evaluator with its own data (episodes, word pairs, a retrieval set) works in `compute` and ignores `update`.
    """

    metrics: Mapping[str, Better]  # every metric that `compute` may return, with its direction
    every_epoch: bool = True  # False: only at the end, not after each epoch on the validation part
    of_chosen_epoch: ClassVar[bool] = False  # True: at the end also on the validation part
    needs_batch: ClassVar[bool] = False  # True: `update` needs the estimator's input rows
    needs_predictions: ClassVar[bool] = True  # False: `update` gets None, and nothing is predicted

    def suits(self, target: Feature | None) -> bool:
        """Whether it can evaluate predictions of this target; others are left out."""
        return True

    def prepare(self, target: Feature | None) -> None:
        """Called once with the target that it suits, before `metrics` is read: some metrics depend on the classes."""

    def begin(self, subject: Subject) -> None:
        """Resets the evaluator."""
        self.subject = subject

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: Any) -> None:
        """Adds a batch.

        Args:
            batch: input of the network.
            examples: `Examples` of the batch, including targets; None for data without rows.
            predictions: `Predictions` of the batch, of the kind that the evaluator measures; None if it needs none.
        """

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Metrics by name, without the part's prefix."""

    def error_tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """After `compute`: name -> further table of `mlrun errors`, its head first."""
        return {}


def make_evaluators(entries: Sequence[Any] | None, target: Feature | None = None) -> list[Evaluator]:
    """The evaluators of a model's YAML that suit the dataset's target; the default ones of the target if none is listed, or none suits.

    Raises ConfigError for an unknown name.
    """
    usual = () if target is None else target.evaluators
    found = [
        _evaluator(entry, f"model.evaluators[{at}]") for at, entry in enumerate(usual if entries is None else entries)
    ]
    suitable = [one for one in found if one.suits(target)]
    if found and not suitable:  # such as of several values, where the YAML lists regression
        suitable = [_evaluator(entry, "model.evaluators") for entry in usual]
    for one in suitable:
        one.prepare(target)
    return suitable


def configured_evaluators(
    model: Mapping[str, Any], target: Feature | None = None, listed: Sequence[Any] | None = None
) -> list[Evaluator]:
    """The evaluators of a model's configuration: `evaluators`, and `extra_evaluators` besides.

    Args:
        model: the node `model`.
        target: the feature that it predicts.
        listed: in place of its `evaluators`.
    """
    own = make_evaluators(listed if listed is not None else model.get("evaluators"), target)
    extra = [
        _evaluator(entry, f"model.extra_evaluators[{at}]")
        for at, entry in enumerate(model.get("extra_evaluators") or ())
    ]
    suitable = [one for one in extra if one.suits(target)]
    for one in suitable:
        one.prepare(target)
    return own + suitable


def directions(*declared: Mapping[str, Better]) -> dict[str, str]:
    """Metric -> "max" or "min", of all `metrics` that rank models."""
    return {name: better.value for metrics in declared for name, better in metrics.items() if better.value}


def _evaluator(entry: Any, path: str) -> Evaluator:
    if isinstance(entry, Evaluator):
        return entry
    if isinstance(entry, Mapping):
        return build(dict(entry), path=path)
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
