"""Questions about images, answered by a language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.data.preprocess.tokenizer import PAD
from mlrun.evaluation.evaluator import Better
from mlrun.generation import decoding
from mlrun.tasks.task import Loss, Outputs, Task
from mlrun.tasks.translation import cross_entropy


class VisualQuestions(Task):
    """Minimizes the cross-entropy of each next token of the answers, given image and question, and generates answers greedily.

    Args:
        network: (pixel_values, tokens, images) -> scores of the next tokens, with `encode`, `start` and `step`; see `mlrun.networks.vision.vlm`.
        max_target_length: tokens of an answer at most.
    """

    metrics = {"loss": Better.SMALLER, "token_accuracy": Better.LARGER}
    monitor = "exact_match"
    prediction_rows = 64
    queries: ClassVar[Mapping[str, str]] = {"ask": "mlrun.predictions.ask_image.AskImage"}
    network: Any

    def __init__(self, network: nn.Module, max_target_length: int):
        super().__init__()
        self.network, self.max_target_length = network, max_target_length

    def forward(self, pixel_values: Tensor, tokens: Tensor, images: Tensor) -> Tensor:
        return self.network(pixel_values, tokens, images)

    def loss(self, batch: Batch) -> Loss:
        """The mean over the tokens of all answers."""
        asked = (batch["labels"] != PAD).any(-1)  # images have different numbers of questions
        images, labels = asked.nonzero()[:, 0], batch["labels"][asked]
        scores = self(batch["pixel_values"], batch["decoder_input_ids"][asked], images)
        valid, value = labels != PAD, cross_entropy(scores, labels)
        hits, count = ((scores.argmax(-1) == labels) & valid).sum(), valid.sum()
        return Loss(value, count, {"loss": value.detach().float() * count, "token_accuracy": hits})

    def predict(self, batch: Batch) -> Outputs:
        """`sequences` (rows, questions, tokens), each answer up to EOS, then PAD."""
        return {"sequences": self.generate(batch["pixel_values"], batch["input_ids"])}

    @torch.inference_mode()
    def generate(self, pixel_values: Tensor, questions: Tensor) -> Tensor:
        """Answers (rows, questions, tokens) to questions (rows, questions, tokens), which are padded on the right."""
        memory, flat = self.network.encode(pixel_values), questions.flatten(0, 1)
        images = torch.arange(len(questions), device=flat.device).repeat_interleave(questions.shape[1])
        lengths = (flat != PAD).sum(1)
        answers = flat.new_full((len(flat), self.max_target_length), PAD)
        for length in lengths[lengths > 0].unique().tolist():  # prompts of the same length are continued together
            texts = (lengths == length).nonzero()[:, 0]
            prompt = flat[texts, :length]
            tokens = decoding.greedy(self.network, (memory, images[texts]), prompt, self.max_target_length).tokens
            answers[texts, : tokens.shape[1]] = tokens
        return answers.unflatten(0, questions.shape[:2])
