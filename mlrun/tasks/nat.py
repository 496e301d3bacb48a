"""One text from another in one pass: all tokens of the target at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task


class NonAutoregressiveTranslation(Task):
    """Minimizes the mean cross-entropy of the tokens of the target, independently of each other, plus that of its length.

    A network of maximum length learns the end token at all positions behind the text.

    Args:
        network: see `mlrun.networks.text.nat`.
        measure: "exact_match" or "bleu", as the dataset says: the metric by which the best epoch is chosen.
        length_weight: of the loss of the length.
        length_beam: lengths that are tried, the most probable ones; the text that is the most probable together with its length is the answer.
    """

    metrics = {"loss": Better.SMALLER, "token_accuracy": Better.LARGER, "length_accuracy": Better.LARGER}
    prediction_rows = 256
    network: Any

    def __init__(self, network: nn.Module, measure: str, length_weight: float = 0.1, length_beam: int = 3):
        super().__init__()
        if isinstance(length_beam, bool) or not isinstance(length_beam, int) or length_beam < 1:
            raise ConfigError(f"model.length_beam={length_beam}: must be a whole number of at least 1")
        self.network, self.monitor = network, measure
        self.length_weight, self.length_beam = length_weight, length_beam

    def loss(self, batch: Batch) -> Loss:
        memory, mask = self.network.encode(batch["input_ids"])
        labels = batch["labels"]
        sizes = (labels != PAD).sum(1) - 1  # without the end token
        kept = sizes <= self.network.max_length  # a text of another part can be longer than all of training
        memory, mask, labels, sizes = memory[kept], mask[kept], labels[kept], sizes[kept]
        if not len(labels):
            return Loss(memory.sum() * 0, 0)
        if self.network.length == "maximum":
            lengths = torch.full_like(sizes, self.network.max_length)
            targets = F.pad(labels, (0, max(0, self.network.max_length - labels.shape[1])))[
                :, : self.network.max_length
            ]
            targets = torch.where(targets == PAD, EOS, targets)
        else:
            lengths = sizes.clamp(min=1)
            targets = torch.where(labels == EOS, PAD, labels)[:, : int(lengths.max())]
        scores = self.network(memory, mask, lengths)
        value = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=PAD)
        right = (scores.detach().argmax(-1) == targets) & (targets != PAD)
        count = len(labels)
        sums = {"token_accuracy": right.sum() / (targets != PAD).sum() * count}
        if self.network.length == "predicted":
            of_length = self.network.length_scores(memory, mask)
            value = value + self.length_weight * F.cross_entropy(of_length, sizes)
            sums["length_accuracy"] = (of_length.detach().argmax(1) == sizes).sum()
        return Loss(value, count, {"loss": value.detach().float() * count, **sums})

    def predict(self, batch: Batch) -> Outputs:
        """`sequences` (batch, tokens), each up to its end token, and their `scores` (batch,): log-probabilities of length and tokens."""
        memory, mask = self.network.encode(batch["input_ids"])
        if self.network.length == "maximum":
            lengths = torch.full((len(memory), 1), self.network.max_length, device=memory.device)
            of_length = torch.zeros(1, device=memory.device)
        else:
            scores = self.network.length_scores(memory, mask).float()
            scores[:, 0] = -math.inf
            of_length, lengths = scores.log_softmax(1).topk(min(self.length_beam, scores.shape[1] - 1), 1)
        tokens, totals = self.decode(memory, mask, lengths)
        totals = totals + of_length
        best = totals.argmax(1)
        rows = torch.arange(len(best), device=best.device)
        return {"sequences": tokens[rows, best], "scores": totals[rows, best]}

    def decode(self, memory: Tensor, mask: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (rows, beam, longest), the end token behind each text, and the log-probability of the tokens of each text (rows, beam).

        memory, mask: see the network's `encode`. lengths: (rows, beam).
        """
        beam, flat = lengths.shape[1], lengths.flatten()
        memory, mask = memory.repeat_interleave(beam, 0), mask.repeat_interleave(beam, 0)
        scores = self.network(memory, mask, flat).float()
        scores[..., [PAD, BOS] if self.network.length == "maximum" else [PAD, BOS, EOS]] = -math.inf
        best, tokens = scores.log_softmax(-1).max(-1)
        inside = torch.arange(tokens.shape[1], device=tokens.device) < flat[:, None]
        ended = (tokens == EOS).cumsum(1) > 0
        tokens = torch.where(inside & ~ended, tokens, EOS)
        counted = inside & ~(ended & (tokens.roll(1, 1) == EOS))
        totals = (best * counted).sum(1)
        return tokens.unflatten(0, (-1, beam)), totals.unflatten(0, (-1, beam))
