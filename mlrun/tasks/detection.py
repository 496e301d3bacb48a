"""Detection: boxes and classes of the objects in an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task


class Detector(Protocol):
    """What a detection network offers."""

    def loss(self, pixel_values: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Named loss terms, whose sum is minimized. boxes: per image (objects, 4) in pixels; labels: per image (objects,)."""

    def detect(
        self, pixel_values: Tensor, least_score: float, nms_iou: float, most: int
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes (objects, 4), labels (objects,) and scores (objects,) of each image."""


class Detection(Task):
    """Minimizes the detector's own loss; predicts the boxes that remain after non-maximum suppression within each class.

    Args:
        network: a `Detector`.
        score_threshold: boxes with a lower score are left out. Low, because average precision also counts uncertain boxes.
        nms_iou: of two boxes of a class that overlap by more, only the one with the higher score stays; 1: all stay.
        most: objects of an image.
    """

    metrics = {"loss": Better.SMALLER}
    monitor: str = "AP50"
    queries = {"draw": "mlrun.predictions.scenes.Pictures"}

    def __init__(self, network: nn.Module, score_threshold: float = 0.05, nms_iou: float = 0.5, most: int = 100):
        super().__init__()
        if not hasattr(network, "detect"):
            raise ConfigError(f"model.network: {type(network).__name__} is not a detector")
        self.network, self.score_threshold, self.nms_iou, self.most = network, score_threshold, nms_iou, most

    def loss(self, batch: Batch) -> Loss:
        terms = cast(Detector, self.network).loss(batch["pixel_values"], batch["boxes"], batch["labels"])
        return Loss(sum(terms.values(), batch["pixel_values"].new_zeros(())), len(batch["pixel_values"]))

    def predict(self, batch: Batch) -> Outputs:
        """Lists of `boxes`, `labels` and `scores`, one entry per image."""
        found = cast(Detector, self.network).detect(
            batch["pixel_values"], self.score_threshold, self.nms_iou, self.most
        )
        return dict(zip(("boxes", "labels", "scores"), found))
