"""Triplet loss: an anchor nearer to a row of its class than to a row of another, by a margin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from mlrun.errors import ConfigError
from mlrun.tasks.similarity import Similarity, drawn_partners, euclidean
from mlrun.tasks.task import Loss

Triplets = tuple[Tensor, Tensor, Tensor]  # (anchors, positives, negatives): row numbers (n,) each


class Triplet(Similarity):
    """Minimizes max(0, d(anchor, positive) - d(anchor, negative) + margin) (Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832,
    there with squared distances).

    Args:
        network, per_class: see `Similarity`.
        mining: which triplets of a batch are used, one for each anchor (for semi_hard: for each anchor and each positive).
            random: a random positive and a random negative.
            semi_hard: the nearest negative that is farther away than the positive (Schroff et al.), or else the farthest one.
            hardest: the farthest positive and the nearest negative (Hermans, Beyer and Leibe 2017, arXiv:1703.07737).
        margin: by which a negative must be farther away; null: the soft margin log(1 + exp(d(a, p) - d(a, n))) (Hermans et al.).
        normalize: see `Similarity`.
    """

    def __init__(
        self,
        network: nn.Module,
        mining: Literal["random", "semi_hard", "hardest"] = "hardest",
        margin: float | None = 1.0,
        normalize: bool = False,
        per_class: int = 4,
    ):
        super().__init__(network, normalize, per_class)
        if margin is not None and margin <= 0:
            raise ConfigError(f"model.margin={margin}: must be greater than 0, or null for the soft margin")
        if mining not in MINING:
            raise ConfigError(f"model.mining={mining}: choose one of {', '.join(MINING)}")
        self.mining, self.margin = mining, margin

    def loss_of(self, vectors: Tensor, labels: Tensor) -> Loss:
        anchors, positives, negatives = MINING[self.mining](vectors.detach(), labels)
        difference = euclidean(vectors[anchors], vectors[positives]) - euclidean(vectors[anchors], vectors[negatives])
        terms = nn.functional.softplus(difference) if self.margin is None else (difference + self.margin).clamp(min=0)
        return Loss(terms.sum() / max(1, len(terms)), len(terms))


def random_triplets(vectors: Tensor, labels: Tensor) -> Triplets:
    """For each row that has both: a random row of its class and a random one of another."""
    return drawn_partners(labels)


def semi_hard_triplets(vectors: Tensor, labels: Tensor) -> Triplets:
    """For each pair of the same class: the nearest negative beyond the positive, or else the farthest negative."""
    distance, positive, negative = _distances(vectors, labels)
    anchors, positives = torch.nonzero(positive & negative.any(1, keepdim=True)).unbind(1)
    candidates, own = distance[anchors], distance[anchors, positives][:, None]
    beyond = negative[anchors] & (candidates > own)
    nearest = candidates.masked_fill(~beyond, torch.inf).argmin(1)
    farthest = candidates.masked_fill(~negative[anchors], -torch.inf).argmax(1)
    return anchors, positives, torch.where(beyond.any(1), nearest, farthest)


def hardest_triplets(vectors: Tensor, labels: Tensor) -> Triplets:
    """For each row that has both: the farthest row of its class and the nearest one of another."""
    distance, positive, negative = _distances(vectors, labels)
    anchors = torch.nonzero(positive.any(1) & negative.any(1)).flatten()
    positives = distance.masked_fill(~positive, -torch.inf).argmax(1)[anchors]
    negatives = distance.masked_fill(~negative, torch.inf).argmin(1)[anchors]
    return anchors, positives, negatives


MINING: dict[str, Callable[[Tensor, Tensor], Triplets]] = {
    "random": random_triplets,
    "semi_hard": semi_hard_triplets,
    "hardest": hardest_triplets,
}


def _distances(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, n): distances, which pairs are two rows of the same class, which are of different classes."""
    equal = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    # not by cdist's matrix product, which is inexact for near rows
    distance = torch.cdist(vectors.float(), vectors.float(), compute_mode="donot_use_mm_for_euclid_dist")
    return distance, equal & ~itself, ~equal
