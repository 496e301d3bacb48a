"""Evaluator of BERT's pre-training: how often a masked token, and the order of two segments, is predicted rightly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.preprocess.text import IGNORED
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class PretrainingEvaluator(Evaluator):
    """What the task measures on a part, and `baseline_masked_accuracy`, that of always predicting the part's most frequent masked token."""

    metrics = {
        "loss": Better.SMALLER,
        "masked_accuracy": Better.LARGER,
        "masked_perplexity": Better.SMALLER,
        "next_sentence_accuracy": Better.LARGER,
        "baseline_masked_accuracy": Better.NEITHER,
    }
    every_epoch = False  # the task reports the others
    needs_predictions = False

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._sums: dict[str, float] = {}
        self._rows = 0
        self._counts: Any = 0

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: Any) -> None:
        task = self.subject.model.task
        loss = task.loss(batch)
        for name, value in loss.sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._rows += int(loss.count)
        labels = batch["labels"].cpu().numpy()
        size = len(task.preprocessor.tokenizer)
        self._counts = self._counts + np.bincount(labels[labels != IGNORED], minlength=size)

    def compute(self) -> dict[str, float]:
        means = {name: value / self._rows for name, value in self._sums.items()}
        frequent = float(np.max(self._counts) / max(1, np.sum(self._counts)))
        return {**self.subject.model.task.summarize(means), "baseline_masked_accuracy": frequent}
