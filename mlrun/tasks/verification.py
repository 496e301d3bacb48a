"""Verification: whether two examples are of the same class, decided by a logistic head on the difference of their vectors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.errors import ConfigError
from mlrun.tasks.similarity import Similarity, drawn_partners
from mlrun.tasks.task import Loss

EPSILON = 1e-4  # in the denominator of the chi-square distance


class Verification(Similarity):
    """Minimizes the cross-entropy of "the same class" (Taigman, Yang, Ranzato and Wolf 2014, "DeepFace", section 4.2).

    The logit is a weighted sum over the components of two vectors f and g, plus a bias: of |f - g|, or of the chi-square terms
    (f - g)^2 / (f + g), for which the vectors pass through a softplus to be positive. The distance of two examples is the negative
    log-probability of "the same", in nats.

    Args:
        network, per_class: see `Similarity`.
        size: numbers of a vector; the network's `num_outputs`.
        head: "absolute" for |f - g|, or "chi_square".
        normalize: see `Similarity`.
    """

    is_euclidean = False

    def __init__(
        self,
        network: nn.Module,
        size: int,
        head: Literal["absolute", "chi_square"] = "absolute",
        normalize: bool = False,
        per_class: int = 4,
    ):
        super().__init__(network, normalize, per_class)
        if head not in ("absolute", "chi_square"):
            raise ConfigError(f"model.head={head}: choose one of absolute, chi_square")
        self.head_name = head
        self.head = nn.Linear(size, 1)
        nn.init.constant_(self.head.weight, -1 / size**0.5)  # a larger difference speaks against "the same"
        nn.init.zeros_(self.head.bias)

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """(...,) logits of "the same class" for vectors (..., size)."""
        if self.head_name == "absolute":
            terms = (first - second).abs()
        else:
            first, second = F.softplus(first), F.softplus(second)
            terms = (first - second) ** 2 / (first + second + EPSILON)
        return self.head(terms).squeeze(-1)

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        return F.softplus(-self.logits(first, second))

    def loss_of(self, vectors: Tensor, labels: Tensor) -> Loss:
        rows, same, other = drawn_partners(labels)
        logits = torch.cat(
            [self.logits(vectors[rows], vectors[same]), -self.logits(vectors[rows], vectors[other])]
        )  # of the right answer
        return Loss(F.softplus(-logits).sum() / max(1, len(logits)), len(rows))
