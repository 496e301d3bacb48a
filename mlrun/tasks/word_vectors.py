"""What tasks that learn a vector for each word have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch

from mlrun.data.batches import Batch
from mlrun.data.module import DataModule
from mlrun.data.preprocess.tokenizer import SPECIAL
from mlrun.data.preprocess.words import Corpus, WordPreprocessor
from mlrun.data.word_vectors import WordVectors
from mlrun.errors import ConfigError, DataError
from mlrun.networks.text.word_vectors import WordTables
from mlrun.tasks.task import Outputs, Task

TAKE_SPARSE = (torch.optim.SGD, torch.optim.Adagrad, torch.optim.SparseAdam)


class WordVectorTask(Task):
    """Base of tasks whose network is `WordTables`. A row is answered with the mean vector of its words."""

    preprocessor: WordPreprocessor | None
    network: WordTables
    queries: ClassVar[Mapping[str, str]] = {
        "neighbours": "mlrun.predictions.words.Neighbours",
        "analogy": "mlrun.predictions.words.Analogy",
        "vectors": "mlrun.predictions.words.Vectors",
    }

    def __init__(self, network: WordTables):
        super().__init__()
        self.network = network
        self._corpora: dict[str, tuple[DataModule, Corpus]] = {}

    def corpus(self, data: DataModule, part: str) -> Corpus:
        """The words of a part, read once. Raises DataError if no training text has two words of the vocabulary."""
        if part not in self._corpora or self._corpora[part][0] is not data:
            found = self.preprocessor.corpus(self.preprocessor.column(data.examples(part)))
            if part == "train" and not (found.texts[1:] == found.texts[:-1]).any():
                raise DataError(
                    f"{data.title}: no training text has two words of the vocabulary, and word vectors are learned from words that stand together"
                )
            self._corpora[part] = data, found
        return self._corpora[part][1]

    def word_vectors(self, preprocessor: WordPreprocessor) -> WordVectors:
        """The vectors of the vocabulary."""
        matrix = self.network.vectors().detach().float().cpu().numpy()
        return WordVectors(preprocessor.words, matrix[len(SPECIAL) :])

    def predict(self, batch: Batch) -> Outputs:
        """`vectors` (batch, width)."""
        return {"vectors": self.feed(batch)}

    def configure_optimizers(self) -> Any:
        sparse = self.network.embedding.sparse
        if sparse:
            self.optimization = replace(self.optimization, fused=False)  # fused kernels take no sparse gradients
            torch.sparse.check_sparse_tensor_invariants.disable()  # as they are by default; torch warns until that is said
        made = super().configure_optimizers()
        optimizer = made["optimizer"]
        if sparse and not isinstance(optimizer, TAKE_SPARSE):
            raise ConfigError(
                f"optim: {type(optimizer).__name__} takes no sparse gradients; set model.network.sparse=false, or optim=adagrad, sgd or sparse_adam"
            )
        return made
