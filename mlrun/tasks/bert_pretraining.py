"""BERT's pre-training: masked tokens, and whether one segment follows another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from mlrun.adapt.step import Step
from mlrun.adapt.steps import NoDecay
from mlrun.data.batches import Batch, Batches
from mlrun.data.masked_pairs import Documents, MaskedPairs
from mlrun.data.module import DataModule
from mlrun.data.preprocess.pieces import CorpusPreprocessor
from mlrun.data.preprocess.text import IGNORED
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task

MEASURED_ROWS = 2000  # of a part, in validation and evaluation


class BertPretraining(Task):
    """Minimizes the mean cross-entropy of the masked tokens plus that of "the second segment follows the first" (Devlin et al. 2018).

    Its baseline, `baseline_masked_accuracy`, is the share of the masked tokens that are the most frequent one of the batch's part.

    Args:
        network: see `mlrun.networks.text.bert.BertForPretraining`.
        masked: share of the tokens that are predicted.
        next_sentence: also learn whether the second segment follows the first; False: masked tokens only, as in RoBERTa.
    """

    metrics = {
        "loss": Better.SMALLER,
        "masked_accuracy": Better.LARGER,
        "masked_perplexity": Better.SMALLER,
        "next_sentence_accuracy": Better.LARGER,
    }
    monitor = "loss"
    preprocessor: CorpusPreprocessor | None
    network: Any
    queries: ClassVar[Mapping[str, str]] = {"fill": "mlrun.predictions.fill.Fill"}

    def __init__(self, network: nn.Module, masked: float = 0.15, next_sentence: bool = True):
        super().__init__()
        if not 0 < masked < 1:
            raise ConfigError(f"model.masked={masked}: must be between 0 and 1")
        self.network, self.masked, self.next_sentence = network, masked, next_sentence
        self._documents: dict[str, tuple[DataModule, Documents]] = {}

    def own_steps(self) -> Sequence[Step]:
        return (NoDecay(),)

    def documents(self, data: DataModule, part: str) -> Documents:
        """The texts of a part, read once."""
        if part not in self._documents or self._documents[part][0] is not data:
            texts = self.preprocessor.column(data.examples(part))
            self._documents[part] = data, Documents.of(texts, self.preprocessor.tokenizer)
        return self._documents[part][1]

    def train_loader(self, data: DataModule, device: torch.device, shard: tuple[int, int]) -> Batches:
        return self._batches(data, "train", device, shard, shuffle=True)

    def loader(self, data: DataModule, part: str, device: torch.device, shard: tuple[int, int]) -> Batches | None:
        return self._batches(data, part, device, shard) if data.sizes[part] else None

    def _batches(
        self, data: DataModule, part: str, device: torch.device, shard: tuple[int, int], shuffle: bool = False
    ) -> MaskedPairs:
        return MaskedPairs(
            self.documents(data, part),
            self.preprocessor.tokenizer,
            self.preprocessor.max_length,
            data.batch_size,
            self.masked,
            self.next_sentence,
            None if shuffle else MEASURED_ROWS,
            device,
            shuffle,
            data.seed,
            shard,
        )

    def loss(self, batch: Batch) -> Loss:
        vectors = self.network.encoder(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        labels, order, rows = batch["labels"], batch["next_sentence_label"], len(batch["labels"])
        chosen = labels != IGNORED
        scores, expected = self.network.token_scores(vectors[chosen]), labels[chosen]
        count = chosen.sum()
        of_tokens = F.cross_entropy(scores, expected, reduction="sum") / count.clamp(min=1)
        sums = {
            "masked": count,
            "masked_loss": of_tokens.detach() * count,
            "masked_right": (scores.detach().argmax(1) == expected).sum(),
        }
        value = of_tokens
        if self.next_sentence:
            of_order = self.network.order_scores(vectors)
            value = value + F.cross_entropy(of_order, order)
            sums["order_right"] = (of_order.detach().argmax(1) == order).sum()
        return Loss(value, rows, {"loss": value.detach().float() * rows, **sums})

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        if not means:
            return means
        count = means["masked"]
        found = {
            "loss": means["loss"],
            "masked_accuracy": means["masked_right"] / count if count else math.nan,
            "masked_perplexity": math.exp(min(means["masked_loss"] / count, 700)) if count else math.nan,
        }
        return {**found, "next_sentence_accuracy": means["order_right"]} if self.next_sentence else found

    def predict(self, batch: Batch) -> Outputs:
        """`vectors` (batch, width), the mean of the vectors of each text's tokens."""
        return {"vectors": self.feed(batch)}
