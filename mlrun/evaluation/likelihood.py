"""Evaluator of the likelihood of data under a variational autoencoder, by its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.predictions import Predictions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

SEED = 2  # of binarization and codes


class Likelihood(Evaluator):
    """Of a `VAE` task, in nats per row: `elbo` = `reconstruction` - `kl`, and `log_likelihood`, the importance-weighted estimate, which is
    never below the ELBO (Burda et al. 2016). During training the task's loss provides the first three."""

    metrics = {
        "elbo": Better.LARGER,
        "reconstruction": Better.LARGER,
        "kl": Better.SMALLER,
        "log_likelihood": Better.LARGER,
    }
    every_epoch = False
    needs_predictions = False

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._sums: dict[str, float] = {}
        self._count = 0
        self._generator = subject.model.task.seeded(SEED)

    def update(self, batch: Mapping[str, Any], examples: Examples | None, predictions: Predictions | None) -> None:
        rows = next(iter(batch.values()))
        for name, value in self.subject.model.task.bounds(rows, batch.get("labels"), self._generator).items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += len(rows)

    def compute(self) -> dict[str, float]:
        return {name: value / self._count for name, value in self._sums.items()}
