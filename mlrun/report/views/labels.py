"""Predictions of classes: confusion matrix, ROC and precision-recall of two classes, misclassified images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image, Label
from mlrun.data.module import DataModule
from mlrun.data.predictions import LabelPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.classification import positive_of
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

CONFUSION_CLASSES = 100  # more would be unreadable


class Labels(View):
    """Of `LabelPredictions`."""

    of_predictions = True

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report import figures

        predictions = evaluation.predictions
        if not isinstance(predictions, LabelPredictions) or not isinstance(data.target, Label):
            return
        truth, names, count = evaluation.examples[data.targets[0]], data.target.names, len(data.target.classes)
        if count <= CONFUSION_CLASSES:
            yield (
                "confusion_matrix",
                figures.confusion_matrix(metrics.confusion(truth, predictions.indices, count), names),
            )
        if count == 2 and predictions.probabilities is not None and len(np.unique(truth)) == 2:
            positive = positive_of(learner)
            both = [names[1 - positive], names[positive]]
            yield "roc_and_pr", figures.roc_and_pr(truth == positive, predictions.probabilities[:, positive], both)
        image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
        wrong = np.flatnonzero(truth != predictions.indices)
        if image is not None and len(wrong):
            confidence = predictions.confidence()
            pixels = np.asarray(evaluation.examples.take(wrong)[image])
            yield (
                "misclassified",
                figures.misclassified_images(
                    pixels,
                    truth[wrong],
                    predictions.indices[wrong],
                    names,
                    pixels.shape[1:],  # of the files; the network input may be enlarged
                    confidence=None if confidence is None else confidence[wrong],
                    of_rows=len(truth),
                ),
            )
