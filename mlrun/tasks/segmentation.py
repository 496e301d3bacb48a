"""Segmentation: the class of every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.data.preprocess.masks import IGNORED
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task

LOSSES = ("cross_entropy", "dice", "focal")


class Segmentation(Task):
    """Minimizes a sum of losses over the pixels that have a class.

    Args:
        network: images to class scores (batch, classes, height, width).
        num_classes: number of classes.
        loss: weight of each loss: cross_entropy; dice, 1 - the mean Dice coefficient of the classes that occur in the batch (Milletari et al.
            2016, arXiv:1606.04797); focal, which weighs cross-entropy by (1 - p)^gamma (Lin et al. 2017, arXiv:1708.02002).
        gamma: of the focal loss.
        weights: of the first classes in cross-entropy and focal loss; the others have the weight 1. [0.2] for a background that is most of an
            image lets the network learn the classes of the objects earlier. None: all alike.
    """

    metrics = {"loss": Better.SMALLER}
    monitor: str = "miou"
    class_weights: Tensor | None
    queries = {"draw": "mlrun.predictions.scenes.Pictures"}

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        loss: dict[str, float] | None = None,
        gamma: float = 2.0,
        weights: Sequence[float] | None = None,
    ):
        super().__init__()
        self.network, self.gamma = network, gamma
        self.terms = {"cross_entropy": 1.0} if loss is None else dict(loss)
        unknown = [name for name in self.terms if name not in LOSSES]
        if unknown or not any(self.terms.values()):
            raise ConfigError(
                f"model.loss: give weights of some of {', '.join(LOSSES)}, such as {{cross_entropy: 1, dice: 1}}"
            )
        self.register_buffer("class_weights", None, persistent=False)
        if weights is not None:
            if len(weights) > num_classes:
                raise ConfigError(f"model.weights: {len(weights)} weights for {num_classes} classes")
            self.class_weights = torch.tensor([*weights, *[1.0] * (num_classes - len(weights))])

    def loss(self, batch: Batch) -> Loss:
        scores, truth = self.feed(batch), batch["labels"].long()
        value = scores.new_zeros(())
        for name, weight in self.terms.items():
            if weight:
                value = value + weight * getattr(self, f"_{name}")(scores, truth)
        return Loss(value, len(scores))

    def _cross_entropy(self, scores: Tensor, truth: Tensor) -> Tensor:
        if (truth == IGNORED).all():  # the mean over nothing
            return scores.sum() * 0
        return F.cross_entropy(scores, truth, self.class_weights, ignore_index=IGNORED)

    def _focal(self, scores: Tensor, truth: Tensor) -> Tensor:
        entropy = F.cross_entropy(scores, truth, self.class_weights, ignore_index=IGNORED, reduction="none")
        counted = truth != IGNORED
        chance = scores.softmax(1).gather(1, truth.masked_fill(~counted, 0)[:, None])[:, 0]
        return ((1 - chance) ** self.gamma * entropy)[counted].sum() / counted.sum().clamp(min=1)

    @staticmethod
    def _dice(scores: Tensor, truth: Tensor) -> Tensor:
        return 1 - soft_dice(scores.softmax(1), truth)

    def predict(self, batch: Batch) -> Outputs:
        """`masks` (batch, height, width) uint8, the class with the highest score."""
        return {"masks": self.feed(batch).argmax(1).to(torch.uint8)}


def soft_dice(shares: Tensor, truth: Tensor) -> Tensor:
    """Mean over the classes that occur of 2 sum(p t) / (sum(p) + sum(t)), over all pixels of the batch that have a class.

    Args:
        shares: class probabilities (batch, classes, height, width).
        truth: (batch, height, width) int64.
    """
    counted = truth != IGNORED
    classes = truth.masked_fill(~counted, 0)
    right = shares.gather(1, classes[:, None])[:, 0] * counted  # of one-hot targets, most products would be zero
    shared = shares.new_zeros(shares.shape[1]).index_add(0, classes.flatten(), right.flatten())
    occurs = torch.bincount(classes[counted], minlength=shares.shape[1])
    total = (shares * counted[:, None]).sum((0, 2, 3)) + occurs
    dice = 2 * shared / total.clamp(min=1e-6)
    return dice[occurs > 0].mean() if (occurs > 0).any() else shares.sum() * 0 + 1
