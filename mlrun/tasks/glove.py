"""GloVe (Pennington et al. 2014): word vectors whose products are the logarithms of how often words stand together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batch, Batches
from mlrun.data.cooccurrences import CountBatches, cooccurrences
from mlrun.data.module import DataModule
from mlrun.data.word_blocks import kept_share, thinned
from mlrun.networks.text.word_vectors import WordTables
from mlrun.tasks.task import Loss
from mlrun.tasks.word_vectors import WordVectorTask


class GloVe(WordVectorTask):
    """Minimizes the sum of f(x_ij) (w_i . v_j + a_i + b_j - log x_ij)^2 over the words i, j that stand together; a word's vector is w_i + v_i.

    The loss is the mean over the entries; training minimizes the sum over a batch. Pennington et al. 2014, equation 8; f(x) = min(1, (x / x_max) ** exponent), equation 9.

    Args:
        network: the tables, with biases.
        window: words on each side that are counted, a word at distance d as 1 / d.
        x_max, exponent: of the weighting f.
        entries: counts in a batch.
        subsample: see `kept_share`: frequent words are thinned out before the count, as word2vec does (Levy, Goldberg and Dagan 2015,
            "Improving distributional similarity with lessons learned from word embeddings", section 3.1); 0: they are not.
    """

    def __init__(
        self,
        network: WordTables,
        window: int = 10,
        x_max: float = 10.0,
        exponent: float = 0.75,
        entries: int = 8192,
        subsample: float = 0.0,
    ):
        super().__init__(network)
        if window < 1 or x_max <= 0 or entries < 1 or subsample < 0:
            raise ValueError(
                f"window={window}, x_max={x_max}, entries={entries} must be positive, subsample={subsample} not negative"
            )
        self.window, self.x_max, self.exponent, self.entries = window, x_max, exponent, entries
        self.subsample = subsample
        self._matrices: dict[str, tuple[DataModule, Any]] = {}

    def train_loader(self, data: DataModule, device: torch.device, shard: tuple[int, int]) -> Batches:
        return CountBatches(self._matrix(data, "train"), self.entries, device, True, data.seed, shard)

    def loader(self, data: DataModule, part: str, device: torch.device, shard: tuple[int, int]) -> Batches | None:
        matrix = self._matrix(data, part)
        return CountBatches(matrix, 8 * self.entries, device, shard=shard) if matrix.nnz else None

    def _matrix(self, data: DataModule, part: str) -> Any:
        """Co-occurrences in as many words as there are in the training texts: counts grow with a text, and the vectors have learned those."""
        if part not in self._matrices or self._matrices[part][0] is not data:
            corpus, counts = self.corpus(data, part), self.preprocessor.counts
            words = corpus
            if self.subsample:
                words = thinned(corpus, kept_share(counts, self.subsample), np.random.default_rng(data.seed))
            matrix = cooccurrences(words, len(counts), self.window)
            self._matrices[part] = data, matrix * np.float32(counts.sum() / max(1, len(corpus.tokens)))
        return self._matrices[part][1]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self.loss(batch)
        self.report("train", loss)
        return loss.value * loss.count * self.trainer.world_size  # gradients are averaged over the processes

    def loss(self, batch: Batch) -> Loss:
        """Of entries of the matrix, see `CountBatches`."""
        row, column, count = batch["rows"], batch["columns"], batch["counts"]
        network = self.network
        predicted = (network.embedding(row) * network.output(column)).sum(1)
        predicted = predicted + (network.input_bias(row) + network.output_bias(column)).squeeze(1)
        weight = (count / self.x_max).clamp(max=1) ** self.exponent
        return Loss((weight * (predicted - count.log()).square()).mean(), len(count))
