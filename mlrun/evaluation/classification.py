"""Evaluator of single-class predictions: accuracy and its baseline, macro F1, recall per class, log loss, ROC AUC, average precision."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label
from mlrun.data.predictions import LabelPredictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

RECALLS = 20  # most classes whose recall is measured one by one


class Classification(Evaluator):
    """Of `LabelPredictions`; see `metrics.classification`.

    Also `recall_CLASS` for up to RECALLS classes, and `baseline_accuracy`, that of always predicting the most frequent class of the
    training rows.
    """

    metrics = {
        "accuracy": Better.LARGER,
        "f1_macro": Better.LARGER,
        "log_loss": Better.SMALLER,
        "roc_auc": Better.LARGER,
        "average_precision": Better.LARGER,
        "baseline_accuracy": Better.NEITHER,
    }
    every_epoch = False  # tasks count hits on the device while they train
    of_chosen_epoch = True

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Label)

    def prepare(self, target: Feature | None) -> None:
        self._recalls = recall_names(target) if isinstance(target, Label) else []
        self.metrics = {**type(self).metrics, **dict.fromkeys(self._recalls, Better.LARGER)}

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._parts: list[tuple[np.ndarray, LabelPredictions]] = []

    def update(self, batch: Mapping[str, Any], examples: Examples, predictions: LabelPredictions) -> None:
        self._parts.append((examples[self._name], predictions))

    def compute(self) -> dict[str, float]:
        truth = np.concatenate([true for true, _ in self._parts])
        predictions = self._parts[0][1].concatenate([one for _, one in self._parts[1:]])
        count, label = len(predictions.classes), baseline_of(self.subject).get("label")
        measured = metrics.classification(
            truth, predictions.indices, predictions.probabilities, count, positive_of(self.subject.model)
        )
        if label is not None:
            measured["baseline_accuracy"] = float(np.mean(truth == label)) if len(truth) else float("nan")
        if getattr(self, "_recalls", None):
            measured.update(zip(self._recalls, metrics.recalls(truth, predictions.indices, count)))
        return measured


def recall_names(target: Label) -> list[str]:
    """Names of the metrics with the recall of each class, in the classes' order; none for many classes."""
    return metric_names("recall", target.names) if len(target.names) <= RECALLS else []


def recalled_classes(target: Feature | None) -> dict[str, str]:
    """Name of the metric with a class's recall -> the class as the data name it."""
    return dict(zip(recall_names(target), target.names)) if isinstance(target, Label) else {}


def metric_names(prefix: str, classes: Sequence[Any]) -> list[str]:
    """The names of a metric of each class, all different."""
    names: list[str] = []
    for name in classes:
        own = f"{prefix}_{metric_name(name)}"
        alike = sum(other == own or other.startswith(f"{own}__") for other in names)  # such as those of "<5" and ">5"
        names.append(f"{own}__{alike + 1}" if alike else own)
    return names


def metric_name(name: Any) -> str:
    """The name of a class as part of the name of a metric: MLflow permits some characters only."""
    return re.sub(r"[^\w. -]", "_", str(name))


def positive_of(learner: Any) -> int:
    """The class that a learner of two classes takes for the positive one; the second for one that was stored without it."""
    found = getattr(learner, "recipe", {}).get("positive")
    return 1 if found is None else int(found)


def baseline_of(subject: Subject) -> Mapping[str, Any]:
    """What a learner knows to predict without any input; empty for one that was stored without it."""
    return getattr(subject.model, "recipe", {}).get("baseline") or {}
