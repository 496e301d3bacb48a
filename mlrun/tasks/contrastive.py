"""Contrastive training of a text encoder: a query is nearer to its own document than to the others of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.data.preprocess.search import OF_DOCUMENT
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Contrastive(Task):
    """Minimizes the cross-entropy of a query's own document among the documents of the batch, by their cosines divided by a temperature, and of a
    document's own query (InfoNCE, van den Oord et al. 2018; in-batch negatives, Karpukhin et al. 2020, arXiv:2004.04906).

    Args:
        network: texts -> vectors (batch, width), the same for both sides.
        temperature: of the softmax.
    """

    metrics = {"loss": Better.SMALLER, "batch_accuracy": Better.LARGER}
    monitor = "loss"
    network: Any

    def __init__(self, network: nn.Module, temperature: float = 0.05):
        super().__init__()
        self.network, self.temperature = network, temperature

    def loss(self, batch: Batch) -> Loss:
        queries = F.normalize(self.network(*(batch[name] for name in INPUTS)), dim=1)
        documents = F.normalize(self.network(*(batch[OF_DOCUMENT + name] for name in INPUTS)), dim=1)
        scores, own = queries @ documents.T / self.temperature, torch.arange(len(queries), device=queries.device)
        value = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        right = (scores.detach().argmax(1) == own).sum()
        return Loss(value, len(own), {"loss": value.detach() * len(own), "batch_accuracy": right})

    def predict(self, batch: Batch) -> Outputs:
        """`vectors` (batch, width)."""
        return {"vectors": self.feed(batch)}
