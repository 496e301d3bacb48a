"""Evaluator of zero-shot classification: classes of another dataset are texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlrun.data.features import Label
from mlrun.data.module import DataModule
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better, Evaluator

SLOT = "{}"


class ZeroShot(Evaluator):
    """Of an `ImageText` task: the share of images of another dataset that are nearest to the text of their class.

    The vector of a class is the mean of those of its prompts (Radford et al. 2021, arXiv:2103.00020, section 3.1.4).

    Args:
        dataset: a dataset of images with one class each; its test part is classified.
        templates: prompts with `{}` in place of the class.
        names: of the classes in prompts, in place of those of the dataset.
        after: the training dataset whose captions speak of these classes; after another one nothing is measured. None: after any.

    Raises:
        ConfigError: a template without `{}`.
    """

    metrics = {"zero_shot_accuracy": Better.LARGER}
    every_epoch = False
    needs_predictions = False

    def __init__(
        self,
        dataset: DataModule,
        templates: Sequence[str],
        names: Sequence[str] | None = None,
        after: str | None = None,
    ):
        if without := [template for template in templates if SLOT not in template]:
            raise ConfigError(f"evaluators: template {without[0]!r} has no {SLOT} for the class")
        self.dataset, self.templates, self.names, self.after = dataset, list(templates), names, after

    def compute(self) -> dict[str, float]:
        if self.after not in (None, self.subject.data.name):
            return {}
        learner, data = self.subject.model, self.dataset
        data.prepare()
        if not isinstance(data.target, Label):
            raise ConfigError("evaluators: zero_shot needs a dataset with classes")
        names = self.names or data.target.names
        classes = class_vectors(learner, names, self.templates)
        examples = data.examples("test")
        vectors = learner.predict(examples).answers()
        return {"zero_shot_accuracy": float((np.argmax(vectors @ classes.T, 1) == examples[data.targets[0]]).mean())}


def class_vectors(learner: Any, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """(classes, size): of length 1, the mean over the prompts of each class."""
    prompts = [template.replace(SLOT, name) for name in names for template in templates]
    mean = learner.task.encode_texts(prompts).reshape(len(names), len(templates), -1).mean(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)
