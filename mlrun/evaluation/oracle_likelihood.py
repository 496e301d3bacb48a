"""Evaluator of generators whose data come from a known distribution: how likely the samples are under it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlrun.evaluation.evaluator import Better, Evaluator

SAMPLES = 1000


class OracleLikelihood(Evaluator):
    """`nll_oracle`: the mean negative log-likelihood per symbol of samples under the dataset's oracle; `nll_of_data`, that of the oracle's own sequences,
    is what a perfect generator has."""

    metrics = {"nll_oracle": Better.SMALLER, "nll_of_data": Better.NEITHER}
    needs_predictions = False

    def __init__(self, samples: int = SAMPLES):
        self.samples = samples

    def compute(self) -> dict[str, float]:
        import torch

        data: Any = self.subject.data
        task = self.subject.model.task
        generator = torch.Generator(task.device).manual_seed(0)
        symbols = task.sampled(self.samples, generator).cpu().numpy() - 1
        texts = data.examples(self.subject.part)["sequence"]
        own = np.array([[int(word) for word in text.split()] for text in texts])
        return {"nll_oracle": float(data.oracle.nll(symbols).mean()), "nll_of_data": float(data.oracle.nll(own).mean())}
