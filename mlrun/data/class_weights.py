"""Weights of classes, for classifiers of unbalanced data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlrun.data.features import Label
from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from mlrun.data.module import DataModule

BALANCED = "balanced"


def class_weights(data: DataModule) -> np.ndarray:
    """(classes,) weights inversely proportional to the classes' numbers of training rows, whose mean over the rows is 1.

    The same as scikit-learn's `class_weight="balanced"`. Raises ConfigError if the data have no classes.
    """
    check_classes(data)
    target = data.target
    assert isinstance(target, Label)
    counts = np.bincount(np.asarray(data.examples("train")[data.targets[0]]), minlength=len(target.classes))
    return counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))


def check_classes(data: DataModule) -> None:
    """Raises ConfigError if the data have no classes that could be weighted."""
    if not isinstance(data.target, Label):
        kind = "nothing" if data.target is None else f"a {data.target.kind}"
        raise ConfigError(f"model.class_weight: needs a target of classes; the target of {data.title} is {kind}")
