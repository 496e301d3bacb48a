"""Evaluator of prompting: the accuracy by the number of examples in the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.features import Feature, Label
from mlrun.data.preprocess.text import as_texts
from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Shots(Evaluator):
    """For each number N of examples `accuracy_N_shots`, the mean over several draws of the examples, and `deviation_N_shots`, their standard deviation.

    Args:
        shots: numbers of examples; 0 needs one draw only.
        draws: of the examples, with the seeds 0, 1, 2 ...
        rows: of the part that are classified, the first ones.
    """

    every_epoch = False

    def __init__(self, shots: Sequence[int] = (0, 2, 4), draws: int = 3, rows: int = 200):
        self.shots, self.draws, self.rows = list(shots), draws, rows
        self.metrics = {f"accuracy_{count}_shots": Better.LARGER for count in self.shots} | {
            f"deviation_{count}_shots": Better.NEITHER for count in self.shots if count
        }

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Label)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._texts: list[str] = []
        self._truth: list[int] = []

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: Any) -> None:
        data = self.subject.data
        self._texts += as_texts(examples[data.inputs[0]])
        self._truth += np.asarray(examples[data.targets[0]]).tolist()

    def compute(self) -> dict[str, float]:
        texts, truth = self._texts[: self.rows], np.array(self._truth[: self.rows])
        measured: dict[str, float] = {}
        for count in self.shots:
            found = [
                float((self.subject.model.probabilities(texts, count, seed).argmax(1) == truth).mean())
                for seed in range(self.draws if count else 1)
            ]
            measured[f"accuracy_{count}_shots"] = float(np.mean(found))
            if count:
                measured[f"deviation_{count}_shots"] = float(np.std(found))
        return measured
