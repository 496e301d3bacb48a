"""ELMo's training: a language model in each direction."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from mlrun.data.batches import Batch, Batches
from mlrun.data.datasets.text_file import TextStream
from mlrun.data.preprocess.streams import StreamPreprocessor
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task


class BidirectionalLanguageModeling(Task):
    """Minimizes the mean negative log probability of each word, from the words before it and from those after it.

    Args:
        network: see `mlrun.networks.text.elmo.ELMoLanguageModel`.
    """

    metrics = {"loss": Better.SMALLER, "perplexity": Better.SMALLER}
    monitor = "perplexity"
    data: TextStream | None
    preprocessor: StreamPreprocessor | None
    network: Any

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def train_loader(  # type: ignore[override]  # no other dataset has this problem
        self, data: TextStream, device: torch.device, shard: tuple[int, int]
    ) -> Batches:
        return data.random_windows(self.preprocessor, device, shard)

    def loss(self, batch: Batch) -> Loss:
        ids = batch["input_ids"]
        if ids.shape[1] < 2:  # the end of a text
            return Loss(self.network.elmo.projection.weight.sum() * 0, 0)
        return Loss(self.network.loss(ids), ids.numel())

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        return {**means, "perplexity": math.exp(min(means["loss"], 700))} if means else means

    def predict(self, batch: Batch) -> Outputs:
        """`vectors` (batch, 2 * width), the mean over the words and layers of each text."""
        return {"vectors": self.feed(batch)}
