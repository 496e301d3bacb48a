"""Siamese networks: the same network for both halves of a pair, trained by the contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlrun.errors import ConfigError
from mlrun.tasks.similarity import Similarity, drawn_partners
from mlrun.tasks.task import Loss


class Siamese(Similarity):
    """Minimizes the contrastive loss (Hadsell, Chopra and LeCun 2006, equation 4, without its factor 1/2): d^2 for two rows of the same
    class, max(0, margin - d)^2 for two of different classes.

    Each row of a batch makes one pair of either kind with rows of the batch drawn at random.

    Args:
        network, normalize, per_class: see `Similarity`.
        margin: distance beyond which two rows of different classes cost nothing.
    """

    def __init__(self, network: nn.Module, margin: float = 1.0, normalize: bool = False, per_class: int = 4):
        super().__init__(network, normalize, per_class)
        if margin <= 0:
            raise ConfigError(f"model.margin={margin}: must be greater than 0")
        self.margin = margin

    def loss_of(self, vectors: Tensor, labels: Tensor) -> Loss:
        rows, same, other = drawn_partners(labels)
        near = self.compare(vectors[rows], vectors[same])
        far = self.compare(vectors[rows], vectors[other])
        return Loss(contrastive(near, far, self.margin), len(rows))


def contrastive(near: Tensor, far: Tensor, margin: float) -> Tensor:
    """Mean contrastive loss of equally many distances (pairs,) of rows of the same class and of different ones; 0 without any."""
    terms = torch.cat([near**2, (margin - far).clamp(min=0) ** 2])
    return terms.sum() / max(1, len(terms))
