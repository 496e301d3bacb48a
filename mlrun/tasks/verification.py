"""Verification: whether two examples are of the same class, decided by a logistic head on the difference of their vectors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.errors import ConfigError
from mlrun.tasks.similarity import PAIRS, Similarity, balanced_mean, checked_pairs
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
        pairs: Literal["drawn", "all"] = "drawn",
        normalize: bool = True,
        per_class: int = 4,
    ):
        super().__init__(network, normalize, per_class)
        if head not in ("absolute", "chi_square"):
            raise ConfigError(f"model.head={head}: choose one of absolute, chi_square")
        self.head_name, self.pairs_of = head, PAIRS[checked_pairs(pairs)]
        self.head = nn.Linear(size, 1)
        # a larger difference speaks against "the same"; undecided at a mean term of 1/2
        nn.init.constant_(self.head.weight, -8 / size)
        nn.init.constant_(self.head.bias, 4.0)

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """(...,) logits of "the same class" for vectors (..., size)."""
        scale = self.head.in_features**0.5 if self.normalize else 1.0  # components of about 1
        first, second = scale * first, scale * second
        if self.head_name == "absolute":
            terms = (first - second).abs()
        else:
            first, second = F.softplus(first), F.softplus(second)
            terms = (first - second) ** 2 / (first + second + EPSILON)
        return self.head(terms).squeeze(-1)

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        return F.softplus(-self.logits(first, second))

    def loss_of(self, vectors: Tensor, labels: Tensor) -> Loss:
        first, second, same = self.pairs_of(labels)
        logits = self.logits(vectors[first], vectors[second])
        return Loss(balanced_mean(F.softplus(torch.where(same, -logits, logits)), same), len(labels))
