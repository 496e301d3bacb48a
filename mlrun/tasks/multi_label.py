"""Several labels per row: each class is there or not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task


class MultiLabel(Task):
    """Minimizes the binary cross-entropy of every class.

    After every epoch the threshold of each class is chosen on the validation part, so that its F1 is largest; it is saved with the weights.

    Args:
        network: the inputs of a batch to scores (batch, num_outputs).
        num_outputs: number of classes.
        target: kind of the dataset's target.
    """

    metrics = {"loss": Better.SMALLER}
    monitor: str = "map"
    thresholds: Tensor

    def __init__(self, network: nn.Module, num_outputs: int, target: str):
        super().__init__()
        if target != "labels":
            raise ConfigError(
                f"model: predicts several labels per row, and this dataset's target is of kind {target}; "
                "a CSV has several labels with dataset.target=[COLUMN,COLUMN]"
            )
        self.network = network
        self.register_buffer("thresholds", torch.full((num_outputs,), 0.5))
        self._held_out: list[tuple[Tensor, Tensor]] = []  # probabilities and labels of the validation part

    def loss(self, batch: Batch) -> Loss:
        return self._loss(self.feed(batch), batch["labels"])

    @staticmethod
    def _loss(scores: Tensor, labels: Tensor) -> Loss:
        return Loss(F.binary_cross_entropy_with_logits(scores, labels), len(labels))

    def predict(self, batch: Batch) -> Outputs:
        """`probabilities` (batch, classes) and the `thresholds` (classes,) of the decisions."""
        return {"probabilities": self.feed(batch).float().sigmoid(), "thresholds": self.thresholds}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        scores = self.feed(batch)
        self._held_out.append((scores.float().sigmoid(), batch["labels"]))
        self.report("val", self._loss(scores, batch["labels"]))
        if self.validation is not None:
            self.validation.update(batch)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._held_out = []

    def on_validation_epoch_end(self) -> None:
        chances, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*self._held_out))
        self._held_out = []
        found = [best_threshold(chance, label > 0) for chance, label in zip(chances.T, labels.T)]
        self.thresholds.copy_(torch.tensor(found))
        super().on_validation_epoch_end()


def best_threshold(chances: np.ndarray, present: np.ndarray) -> float:
    """The threshold with the largest F1, in the middle between two probabilities; 1/2 if no row has the class.

    Args:
        chances: (rows,) probabilities.
        present: (rows,) bool.
    """
    if not present.any():
        return 0.5
    order = np.argsort(-chances, kind="stable")
    sorted_chances, hits = chances[order], np.cumsum(present[order])
    score = 2 * hits / (np.arange(1, len(order) + 1) + present.sum())
    last = np.append(sorted_chances[1:] != sorted_chances[:-1], True)  # equal probabilities are decided alike
    best = int(np.where(last, score, -1.0).argmax())
    below = sorted_chances[best + 1] if best + 1 < len(order) else 0.0
    return float((sorted_chances[best] + below) / 2)
