"""Tagging: a class for each word of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import nn
from torch.nn import functional as F

from mlrun.adapt.step import Step
from mlrun.adapt.steps import NoDecay
from mlrun.data.batches import Batch
from mlrun.data.preprocess.text import IGNORED
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task


class Tagging(Task):
    """Minimizes the mean cross-entropy of the tags, see `mlrun.data.preprocess.tags`.

    Args:
        network: ids, mask and segments (batch, tokens) -> scores (batch, tokens, classes).
    """

    metrics = {"loss": Better.SMALLER}
    monitor = "f1"
    queries: ClassVar[Mapping[str, str]] = {"tag": "mlrun.predictions.tag.Tag"}

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def own_steps(self) -> Sequence[Step]:
        return (NoDecay(),)

    def loss(self, batch: Batch) -> Loss:
        scores, labels = self.feed(batch), batch["labels"]
        count = (labels != IGNORED).sum()
        total = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return Loss(total / count.clamp(min=1), count)

    def predict(self, batch: Batch) -> Outputs:
        """`tag_scores` (batch, tokens, classes)."""
        return {"tag_scores": self.feed(batch).float()}
