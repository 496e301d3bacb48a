"""Extractive question answering: the span of a text that answers a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.step import Step
from mlrun.adapt.steps import NoDecay
from mlrun.data.batches import Batch
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class QuestionAnswering(Task):
    """Minimizes the mean cross-entropy of the first and the last token of the answer in each window (Devlin et al. 2018, section 4.2 and 4.3);
    the answer of a window without it is its first token, [CLS].

    Args:
        network: ids, mask and segments (windows, tokens) -> scores (windows, tokens, 2).
    """

    metrics = {"loss": Better.SMALLER}
    monitor = "f1"
    prediction_rows = 64  # the windows of a row are read together
    queries: ClassVar[Mapping[str, str]] = {"question": "mlrun.predictions.question.Question"}

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def own_steps(self) -> Sequence[Step]:
        return (NoDecay(),)

    def scores(self, batch: Batch) -> Tensor:
        """(windows, tokens, 2) of all windows of a batch, -inf where no answer can be."""
        inputs = [flat(batch[name]) for name in INPUTS]
        return self.network(*inputs).masked_fill(~flat(batch["readable"])[..., None], -torch.inf)

    def loss(self, batch: Batch) -> Loss:
        first, last = self.scores(batch).unbind(-1)
        starts, ends = (torch.cat(batch[name]) for name in ("start_positions", "end_positions"))
        value = F.cross_entropy(first, starts) + F.cross_entropy(last, ends)
        return Loss(value / 2, len(starts))

    def predict(self, batch: Batch) -> Outputs:
        """`start_logits` and `end_logits`: lists of (windows, tokens)."""
        counts = [len(one) for one in batch["input_ids"]]
        widths = [one.shape[1] for one in batch["input_ids"]]
        rows = self.scores(batch).float().split(counts)
        cut: list[Any] = [row[:, :width] for row, width in zip(rows, widths)]
        return {"start_logits": [one[..., 0] for one in cut], "end_logits": [one[..., 1] for one in cut]}


def flat(rows: Sequence[Tensor]) -> Tensor:
    """The windows (windows, tokens) of several rows as one tensor, padded with 0 or False on the right."""
    width = max(row.shape[1] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])
