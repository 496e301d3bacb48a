"""Classification with localization: one object per image, its class and its box."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.evaluation.evaluator import Better
from mlrun.networks.vision import ops
from mlrun.tasks.task import Loss, Outputs, Task


class Localization(Task):
    """Minimizes the cross-entropy of the class, and a loss of the box: 1 - GIoU plus the mean L1 distance of its sides, relative to the image.

    An image without any object, or with several, cannot be used for training.

    Args:
        network: images to (class scores (batch, classes), boxes (batch, 4) in pixels).
        box_weight: of the loss of the box.
    """

    metrics = {"loss": Better.SMALLER}
    monitor: str = "localized"
    queries = {"draw": "mlrun.predictions.scenes.Pictures"}

    def __init__(self, network: nn.Module, box_weight: float = 2.0):
        super().__init__()
        self.network, self.box_weight = network, box_weight

    def loss(self, batch: Batch) -> Loss:
        scores, found = self.feed(batch)
        box, label = self._only(batch)
        height, width = batch["pixel_values"].shape[2:]
        distance = ((found - box) / box.new_tensor([width, height, width, height])).abs().mean()
        of_box = (1 - ops.giou(found, box)).mean() + 4 * distance
        return Loss(F.cross_entropy(scores, label) + self.box_weight * of_box, len(label))

    @staticmethod
    def _only(batch: Batch) -> tuple[Tensor, Tensor]:
        """The box (batch, 4) and label (batch,) of each image; of several objects the first."""
        boxes, labels = batch["boxes"], batch["labels"]
        return torch.stack([one[0] for one in boxes]), torch.stack([one[0] for one in labels])

    def predict(self, batch: Batch) -> Outputs:
        """Lists of `boxes`, `labels` and `scores`, one object per image."""
        scores, boxes = self.feed(batch)
        chance, label = scores.float().softmax(1).max(1)
        boxes = ops.clip(boxes.float(), *batch["pixel_values"].shape[2:])
        return {name: list(value.split(1)) for name, value in (("boxes", boxes), ("labels", label), ("scores", chance))}
