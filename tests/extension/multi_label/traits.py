"""Several labels per row: one logistic output per class, measured by micro-averaged F1."""

from __future__ import annotations

from torch.nn import functional as F

from mlrun.evaluation.evaluator import Better, Evaluator
from mlrun.tasks.task import Loss, Task


class MultiLabel(Task):
    """Minimizes the binary cross-entropy of every class."""

    monitor = "f1"

    def __init__(self, network):
        super().__init__()
        self.network = network

    def loss(self, batch):
        return Loss(F.binary_cross_entropy_with_logits(self.feed(batch), batch["labels"]), len(batch["labels"]))

    def predict(self, batch):
        return {"probabilities": self.feed(batch).sigmoid()}


class LabelF1(Evaluator):
    """2 hits / (predicted + true) over all rows and classes."""

    metrics = {"f1": Better.LARGER}

    def begin(self, subject):
        super().begin(subject)
        self.hits = self.marked = 0

    def update(self, batch, examples, predictions):
        self.hits += int((predictions.present & examples["labels"]).sum())
        self.marked += int(predictions.present.sum() + examples["labels"].sum())

    def compute(self):
        return {"f1": 2 * self.hits / max(1, self.marked)}
