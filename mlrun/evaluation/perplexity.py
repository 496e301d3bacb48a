"""Evaluator of language models: mean loss per token, perplexity, bits per character."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.predictions import Predictions
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Perplexity(Evaluator):
    """Of a part of a text stream, see `metrics.language_modeling`."""

    metrics = {"loss": Better.SMALLER, "perplexity": Better.SMALLER, "bits_per_character": Better.SMALLER}
    every_epoch = False  # the task computes them from the losses of the epoch
    needs_predictions = False

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._sum: Any = 0.0
        self._count = 0
        self._task = getattr(subject.model, "task", None)
        if self._task is not None:
            self._task.start_text()

    def update(self, batch: Mapping[str, Any], examples: Examples | None, predictions: Predictions | None) -> None:
        if self._task is not None:
            loss = self._task.loss(batch)
            self._sum = self._sum + loss.value.double() * loss.count
            self._count += loss.count

    def compute(self) -> dict[str, float]:
        stream = self.subject.data.stream(self.subject.part, self.subject.model.preprocessor)
        if self._task is None:  # an estimator takes all tokens at once
            loss = -float(self.subject.model.estimator.log_probabilities(stream.tokens).mean())
        else:
            loss = float(self._sum) / self._count
        return metrics.language_modeling(loss, stream.tokens_per_character)
