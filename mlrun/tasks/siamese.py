"""Siamese networks: the same network for both halves of a pair, trained by the contrastive loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mlrun.errors import ConfigError
from mlrun.tasks.similarity import PAIRS, Similarity, balanced_mean, checked_pairs
from mlrun.tasks.task import Loss


class Siamese(Similarity):
    """Minimizes the contrastive loss (Hadsell, Chopra and LeCun 2006, equation 4, without its factor 1/2): d^2 for two rows of the same
    class, max(0, margin - d)^2 for two of different classes.

    Args:
        network, normalize, per_class: see `Similarity`.
        margin: distance beyond which two rows of different classes cost nothing.
        pairs: "drawn": each row of a batch makes one pair of either kind, with rows of the batch drawn at random. "all": all pairs of a batch;
            both kinds have the same weight.
    """

    def __init__(
        self,
        network: nn.Module,
        margin: float = 1.0,
        pairs: Literal["drawn", "all"] = "drawn",
        normalize: bool = True,
        per_class: int = 4,
    ):
        super().__init__(network, normalize, per_class)
        self.pairs_of = PAIRS[checked_pairs(pairs)]
        if margin <= 0:
            raise ConfigError(f"model.margin={margin}: must be greater than 0")
        self.margin = margin

    def loss_of(self, vectors: Tensor, labels: Tensor) -> Loss:
        first, second, same = self.pairs_of(labels)
        terms = contrastive(self.compare(vectors[first], vectors[second]), same, self.margin)
        return Loss(balanced_mean(terms, same), len(labels))


def contrastive(distances: Tensor, same: Tensor, margin: float) -> Tensor:
    """(pairs,) contrastive loss of distances (pairs,) of rows of the same class (bool) or of different ones."""
    return torch.where(same, distances**2, (margin - distances).clamp(min=0) ** 2)
