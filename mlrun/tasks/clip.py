"""Contrastive training of images and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.data.sequences import Sequences
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task

TEXTS = 512  # that are encoded at once


class ImageText(Task):
    """An image is nearer to its own text than to those of other images, and the other way round.

    Images with equal texts are no negatives of each other. In a distributed run every process compares its rows with those of all.

    Args:
        network: see `mlrun.networks.vision.clip.Clip`.
        objective: "softmax": the mean of both cross-entropies (Radford et al. 2021, arXiv:2103.00020); "sigmoid": each pair on its own (Zhai et
            al. 2023, arXiv:2303.15343), which needs the network's bias.

    Raises:
        ValueError: another objective, or the sigmoid without bias.
    """

    metrics = {"loss": Better.SMALLER}
    monitor = "recall_at_5"
    queries = {"search": "mlrun.predictions.image_text.Search", "classes": "mlrun.predictions.image_text.Classes"}
    network: Any

    def __init__(self, network: nn.Module, objective: Literal["softmax", "sigmoid"] = "softmax"):
        super().__init__()
        if objective not in ("softmax", "sigmoid"):
            raise ValueError(f"objective={objective!r}: choose one of softmax, sigmoid")
        if objective == "sigmoid" and getattr(network, "bias", None) is None:
            raise ValueError("objective='sigmoid': needs network.bias, such as -10")
        self.network, self.objective = network, objective

    def loss(self, batch: Batch) -> Loss:
        images, texts = self.network.image_vectors(batch["pixel_values"]), self.text_vectors(batch["labels"])
        all_images, all_texts, first = images, texts, 0
        if self.training and self.trainer.world_size > 1:
            counts = self._counts(len(images))
            all_images, all_texts = self._of_all(images, counts), self._of_all(texts, counts)
            # texts are compared by their vectors, because tokens are padded differently in each process
            same = (texts.detach() @ all_texts.detach().T) > 1 - 1e-5
            first = sum(counts[: self.global_rank])
        else:
            same = equal_rows(batch["labels"])
        own = torch.arange(first, first + len(images), device=images.device)
        by_image, by_text = self.network.scores(images, all_texts), self.network.scores(all_images, texts).T
        value = self._term(by_image, own, same) + self._term(by_text, own, same)
        return Loss(value / 2, len(images))

    def _counts(self, rows: int) -> list[int]:
        """Rows of the batch in each process; those of the last batch may differ."""
        return cast(Tensor, self.all_gather(torch.tensor(rows, device=self.device))).tolist()

    def _of_all(self, vectors: Tensor, counts: Sequence[int]) -> Tensor:
        """Vectors (rows, size) of all processes, through which gradients flow back."""
        padded = F.pad(vectors, (0, 0, 0, max(counts) - len(vectors)))
        parts = cast(Tensor, self.all_gather(padded, sync_grads=True))
        return torch.cat([part[:count] for part, count in zip(parts, counts)])

    def _term(self, scores: Tensor, own: Tensor, same: Tensor) -> Tensor:
        """scores: (rows, candidates); own: (rows,) the candidate of each row; same: (rows, candidates), right ones."""
        if self.objective == "sigmoid":
            return -F.logsigmoid(torch.where(same, scores, -scores)).sum() / len(scores)
        others = same.clone()
        others[torch.arange(len(own)), own] = False
        return F.cross_entropy(scores.masked_fill(others, float("-inf")), own)

    def text_vectors(self, tokens: Tensor) -> Tensor:
        """(rows, tokens) int64, padded with 0 -> (rows, size)."""
        return self.network.text_vectors(tokens)

    def predict(self, batch: Batch) -> Outputs:
        """`vectors` (batch, size) of the images."""
        return {"vectors": self.network.image_vectors(batch["pixel_values"]).float()}

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, size) vectors, by the tokenizer of the training captions."""
        preprocessor: Any = self.preprocessor
        encoder = preprocessor.encoders[next(iter(preprocessor.targets))]
        found = []
        for start in range(0, len(texts), TEXTS):
            rows = Sequences([encoder.ids(text)[1:] for text in texts[start : start + TEXTS]]).padded()
            found.append(self.text_vectors(torch.as_tensor(rows, device=self.device)).float().cpu().numpy())
        return np.concatenate(found)


def equal_rows(tokens: Tensor) -> Tensor:
    """(rows, rows) whether two rows of (rows, tokens) are equal."""
    return (tokens[:, None] == tokens[None]).all(-1)
