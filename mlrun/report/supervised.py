"""Which figures show how well classes or values were predicted; the same for estimators and networks."""

from __future__ import annotations

import numpy as np

from mlrun.evaluation import metrics as measures
from mlrun.report import figures

CONFUSION_CLASSES = 100  # more would be unreadable


def supervised_figures(data, outcome, part="test"):
    """Yields (name, Figure) for an `Outcome` on a part of the data."""
    spec = data.spec
    if outcome.problem == "regression":
        yield "predicted_against_true", figures.predicted_against_true(outcome.y, outcome.predicted, spec.target)
        return
    if len(spec.class_names) <= CONFUSION_CLASSES:
        counts = measures.confusion(outcome.y, outcome.predicted, outcome.num_classes)
        yield "confusion_matrix", figures.confusion_matrix(counts, spec.class_names)
    if outcome.num_classes == 2 and outcome.probabilities is not None and len(np.unique(outcome.y)) == 2:
        yield "roc_and_pr", figures.roc_and_pr(outcome.y, outcome.probabilities[:, 1], spec.class_names)
    if "image_shape" in spec.facts and (outcome.y != outcome.predicted).any():
        confidence = None if outcome.probabilities is None else outcome.probabilities.max(axis=1)
        wrong = np.flatnonzero(outcome.y != outcome.predicted)
        images = data.take(data.rows(part)[wrong])
        yield (
            "misclassified",
            figures.misclassified_images(
                images,
                outcome.y[wrong],
                outcome.predicted[wrong],
                spec.class_names,
                images.shape[1:],  # as in the files; the network may have seen them enlarged
                confidence=None if confidence is None else confidence[wrong],
                of_rows=len(outcome.y),
            ),
        )
