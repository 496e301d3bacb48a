"""Evaluators at work after every epoch, on the validation part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlrun.data.batches import Batch
from mlrun.data.predictions import Predictions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

if TYPE_CHECKING:
    from mlrun.data.examples import Examples
    from mlrun.tasks.task import Task


class Validation:
    """Hands batches and predictions of one part to evaluators.

    Args:
        evaluators: those that are to measure. subject: what they measure; its data, part and the task's preprocessor say what a batch is of.
    """

    def __init__(self, task: Task, evaluators: Sequence[Evaluator], subject: Subject):
        self.task, self.evaluators, self.subject = task, list(evaluators), subject
        self._predicts = any(one.needs_predictions for one in self.evaluators)
        self._examples: Examples | None = None

    @property
    def metrics(self) -> dict[str, Better]:
        """What may be measured, with its direction."""
        return {name: better for one in self.evaluators for name, better in one.metrics.items()}

    def begin(self) -> None:
        """Before the first batch."""
        for one in self.evaluators:
            one.begin(self.subject)

    @torch.inference_mode()
    def update(self, batch: Batch) -> Predictions | None:
        """A batch of the part; returns what the model predicts for it, where an evaluator wants to know."""
        examples, predictions = self._of(batch), None
        if self._predicts:
            predictions = self.task.preprocessor.decode(as_arrays(self.task.predict(batch)), examples)
        for one in self.evaluators:
            one.update(batch, examples, predictions if one.needs_predictions else None)
        return predictions

    def _of(self, batch: Batch) -> Examples | None:
        if getattr(batch, "rows", None) is None:
            return None
        if self._examples is None:
            self._examples = self.subject.data.examples(self.subject.part)
        return self._examples.take(batch.rows.cpu().numpy())

    def compute(self) -> dict[str, float]:
        """All metrics."""
        return {name: value for one in self.evaluators for name, value in one.compute().items()}


def as_arrays(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """A task's outputs as NumPy arrays, or lists of them."""
    return {
        name: [_array(one) for one in value] if isinstance(value, (list, tuple)) else _array(value)
        for name, value in outputs.items()
    }


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    return (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()
