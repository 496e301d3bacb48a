"""One text from another: translation, transliteration, sums as strings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.data.preprocess.tokenizer import BOS, PAD
from mlrun.evaluation.evaluator import Better
from mlrun.generation import decoding
from mlrun.generation.decoding import GenerationOutput
from mlrun.tasks.task import Loss, Outputs, Task


class Translation(Task):
    """Minimizes the cross-entropy of each next token of the target, and generates targets by `mlrun.generation.decoding`.

    Validation decodes greedily, the final evaluation and predictions by beam search where beam_width > 1.

    Args:
        network: (source, target) -> scores of the next tokens, with `encode`, `start`, `step` and `reorder`; see
            `mlrun.networks.text.transformer`.
        measure: "exact_match" or "bleu", as the dataset says: the metric by which the best epoch is chosen.
        max_target_length: tokens to generate at most.
        label_smoothing: share of the target probability spread over all tokens (Szegedy et al. 2016); not in validation.
        teacher_forcing: share of the true tokens that the decoder is fed in training, a number or a function of the share of the training
            that is over, such as `mlrun.generation.annealing.Linear` (scheduled sampling, Bengio et al. 2015).
        guided_attention: weight of the loss that pulls attention towards the diagonal (Tachibana et al. 2018, arXiv:1710.08969, section 4.1).
        guided_width: its g, the distance from the diagonal that costs little.
        beam_width: partial translations that the beam keeps; 1 is greedy.
        length_penalty: alpha of log P / L^alpha.
    """

    metrics = {"loss": Better.SMALLER, "token_accuracy": Better.LARGER}
    prediction_rows = 256
    source = "input_ids"  # tensor of a batch from which a text is generated
    network: Any

    def __init__(
        self,
        network: nn.Module,
        measure: str,
        max_target_length: int,
        label_smoothing: float = 0.0,
        teacher_forcing: float | Callable[[float], float] = 1.0,
        guided_attention: float = 0.0,
        guided_width: float = 0.2,
        beam_width: int = 1,
        length_penalty: float = 1.0,
    ):
        super().__init__()
        if beam_width < 1:
            raise ValueError(f"beam_width={beam_width}: must be at least 1")
        if guided_attention and getattr(network, "attention", True) is None:
            raise ValueError(
                f"guided_attention={guided_attention}: this network has no attention; see network.attention"
            )
        self.network, self.max_target_length, self.monitor = network, max_target_length, measure
        self.label_smoothing, self.teacher_forcing = label_smoothing, teacher_forcing
        self.guided_attention, self.guided_width = guided_attention, guided_width
        self.beam_width, self.length_penalty = beam_width, length_penalty
        self._is_validating = False  # whether predictions are for the validation after an epoch

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.network(source, target)

    def loss(self, batch: Batch) -> Loss:
        """In training the mean over batches of what is minimized, otherwise the mean over tokens of the plain cross-entropy."""
        source, target, labels = batch[self.source], batch["decoder_input_ids"], batch["labels"]
        if not self.training:
            scores, valid = self.network(source, target), labels != PAD
            count, value = valid.sum(), cross_entropy(scores, labels)
            hits = ((scores.argmax(-1) == labels) & valid).sum()
            return Loss(value, count, {"loss": value.detach().float() * count, "token_accuracy": hits})
        share = self.teacher_forcing(self.progress) if callable(self.teacher_forcing) else self.teacher_forcing
        if self.guided_attention:
            scores, weights = self.network(source, target, share, with_attention=True)
        else:
            scores, weights = self.network(source, target, share), None
        value = cross_entropy(scores, labels, self.label_smoothing)
        sums = {"loss": value.detach()}
        if weights is not None:
            value = value + self.guided_attention * guided_attention_loss(
                weights, source != PAD, labels != PAD, self.guided_width
            )
        return Loss(value, 1, sums)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._is_validating = True
        try:
            super().validation_step(batch, batch_index)
        finally:
            self._is_validating = False

    def predict(self, batch: Batch) -> Outputs:
        """`sequences` (rows, tokens) without BOS, padded with PAD after EOS; `scores` (rows,), log P / L^alpha."""
        output = self.generate(batch[self.source], 1 if self._is_validating else self.beam_width)
        return {"sequences": output.tokens, "scores": output.score}

    @torch.inference_mode()
    def generate(self, source: Tensor, beam_width: int | None = None) -> GenerationOutput:
        """The translations of sources (rows, sources). beam_width: None for the task's own."""
        memory, prompt = self.network.encode(source), beginning(source)
        width = self.beam_width if beam_width is None else beam_width
        if width == 1:
            return decoding.greedy(self.network, memory, prompt, self.max_target_length)
        return decoding.beam_search(self.network, memory, prompt, self.max_target_length, width, self.length_penalty)

    @torch.inference_mode()
    def score(self, source: Tensor, labels: Tensor) -> Tensor:
        """(rows,) log P / L^alpha of given targets (rows, targets), comparable with the `scores` of a beam."""
        total, length = decoding.log_probability(self.network, self.network.encode(source), beginning(source), labels)
        return decoding.normalized(total, length, self.length_penalty)


def beginning(source: Tensor) -> Tensor:
    """(rows, 1): the token with which every target begins."""
    return torch.full((len(source), 1), BOS, dtype=torch.long, device=source.device)


def cross_entropy(scores: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the tokens that are not padding. scores: (batch, targets, vocabulary); labels: (batch, targets)."""
    return F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)


def guided_attention_loss(weights: Tensor, source_mask: Tensor, target_mask: Tensor, width: float) -> Tensor:
    """Mean of A_nt (1 - exp(-(n/N - t/T)^2 / (2 g^2))): the attention that lies far from the diagonal.

    Args:
        weights: (batch, heads, targets, sources).
        source_mask, target_mask: (batch, sources) and (batch, targets), True where there is a token.
        width: g.
    """

    def share(mask: Tensor) -> Tensor:
        return torch.arange(mask.shape[1], device=mask.device) / mask.sum(1, keepdim=True)

    distance = share(target_mask)[:, :, None] - share(source_mask)[:, None, :]
    penalty = (1 - torch.exp(-(distance**2) / (2 * width**2))) * target_mask[:, :, None] * source_mask[:, None, :]
    return (weights * penalty[:, None]).sum() / (weights.shape[1] * target_mask.sum())
