"""Landmarks: the places of named points in an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task


class Landmarks(Task):
    """Minimizes the distance of the visible points, relative to the size of the image. The network learns differences from the mean shape.

    Args:
        network: images to (batch, 2 * points).
        mean_shape: (points, 2) mean places of the training points, from 0 to 1.
        loss: "squared", "l1", or "wing": w log(1 + |d| / epsilon) for |d| < w, which weighs small errors more (Feng et al. 2018,
            arXiv:1711.06753).
        width, epsilon: of the wing loss, relative to the image.
    """

    metrics = {"loss": Better.SMALLER}
    monitor: str = "normalized_error"
    queries = {"draw": "mlrun.predictions.scenes.Pictures"}
    mean_shape: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean_shape: Sequence[Sequence[float]],
        loss: Literal["squared", "l1", "wing"] = "squared",
        width: float = 0.1,
        epsilon: float = 0.02,
    ):
        super().__init__()
        if loss not in ("squared", "l1", "wing"):
            raise ValueError(f"loss={loss!r}: choose squared, l1 or wing")
        self.network, self.kind, self.width, self.epsilon = network, loss, width, epsilon
        self.register_buffer("mean_shape", torch.tensor(mean_shape, dtype=torch.float32))

    def places(self, batch: Batch) -> Tensor:
        """(batch, points, 2) from 0 to 1."""
        return self.mean_shape + UNIT * self.feed(batch).view(-1, *self.mean_shape.shape)

    def loss(self, batch: Batch) -> Loss:
        truth, found = batch["points"], self.places(batch)
        visible = ~truth.isnan().any(2)
        distance = (found[visible] - truth[visible]).abs()
        if self.kind == "squared":
            values = (distance / UNIT) ** 2
        elif self.kind == "l1":
            values = distance / UNIT
        else:
            near = self.width * torch.log1p(distance / self.epsilon)
            offset = self.width - self.width * torch.log1p(torch.tensor(self.width / self.epsilon))
            values = torch.where(distance < self.width, near, distance - offset) / UNIT
        return Loss(values.sum() / max(1, values.numel()), len(truth))

    def predict(self, batch: Batch) -> Outputs:
        """`points` (batch, points, 2) from 0 to 1."""
        return {"points": self.places(batch).float()}


UNIT = 0.1  # of the network's outputs, relative to the image
