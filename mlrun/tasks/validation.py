"""Runs evaluators on a part of the data, such as the validation part after every epoch."""

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
    """Passes batches and predictions of one part to evaluators.

    Args:
        task: makes the predictions.
        evaluators: those to run.
        subject: what they evaluate; the batches come from its data and part.
    """

    def __init__(self, task: Task, evaluators: Sequence[Evaluator], subject: Subject):
        self.task, self.evaluators, self.subject = task, list(evaluators), subject
        self._predicts = any(one.needs_predictions for one in self.evaluators)
        self._examples: Examples | None = None

    @property
    def metrics(self) -> dict[str, Better]:
        """Metrics of all evaluators with their directions."""
        return {name: better for one in self.evaluators for name, better in one.metrics.items()}

    def begin(self) -> None:
        """Starts an evaluation. Call before the first batch."""
        for one in self.evaluators:
            one.begin(self.subject)

    @torch.inference_mode()
    def update(self, batch: Batch) -> Predictions | None:
        """Passes on a batch of the part. Returns its predictions if an evaluator needs them."""
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
