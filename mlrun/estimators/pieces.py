"""Fits an estimator to rows that do not fit in memory, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.errors import ConfigError
from mlrun.estimators.roles import Classifier, Role, matrix

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from mlrun.data.module import DataModule


def fit_in_pieces(
    steps: Pipeline, role: Role, data: DataModule, pieces: Iterator[Examples], weights: np.ndarray | None
) -> None:
    """Fits the steps before the estimator to a sample of the rows, and the estimator to all of them with `partial_fit`.

    Args:
        steps: the pipeline, which is fitted.
        role: of the estimator.
        pieces: of the training rows, shuffled.
        weights: (classes,) of the rows of each class; None: all rows count the same.

    Raises:
        ConfigError: the estimator learns only from all rows at once.
    """
    from sklearn.utils.validation import has_fit_parameter

    estimator = steps[-1]
    if not hasattr(estimator, "partial_fit"):
        raise ConfigError(
            f"{type(estimator).__name__} learns only from all rows at once, and those of {data.title} do not fit in memory: use a model with "
            "partial_fit (naive_bayes, sgd) or a network, or dataset=csv"
        )
    before = steps[:-1] if len(steps) > 1 else None
    if before is not None:
        sample = data.examples_to_learn_from
        before.fit(matrix(role.preprocessor, sample), role.target(sample))
    options: dict[str, Any] = {"classes": np.asarray(role.classes)} if isinstance(role, Classifier) else {}
    if weights is not None and not has_fit_parameter(estimator.partial_fit.__self__, "sample_weight"):
        raise ConfigError(f"model.class_weight: {type(estimator).__name__} takes no weights of rows")
    for piece in pieces:
        x, y = matrix(role.preprocessor, piece), role.target(piece)
        if weights is not None:
            options["sample_weight"] = weights[piece[data.targets[0]]]
        estimator.partial_fit(x if before is None else before.transform(x), y, **options)
        options.pop("classes", None)  # only the first call takes the classes
