"""Classification and regression: prediction of a label, a value or several values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.batches import Batch
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Loss, Outputs, Task


class Supervised(Task):
    """Minimizes cross-entropy (classes) or the mean squared error (values, or one-hot classes when `loss` is "mse").

    Args:
        network: maps the inputs of a batch to scores (batch, num_outputs).
        target: "label", "value" or "values", the kind of the dataset's target.
        target_std: standard deviation of the raw target in its unit; the network learns the standardized target, metrics are in that unit.
        loss: "auto": cross-entropy for labels, the mean squared error for values.
        label_smoothing: fraction of the target probability that is spread over all classes (Szegedy et al. 2016).
    """

    metrics = {"loss": Better.SMALLER, "accuracy": Better.LARGER, "rmse": Better.SMALLER}

    def __init__(
        self,
        network: nn.Module,
        target: str,
        target_std: float,
        loss: Literal["auto", "cross_entropy", "mse"] = "auto",
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        if target not in ("label", "value", "values"):
            hint = "; for several labels per row: model=multi_label" if target == "labels" else ""
            raise ConfigError(f"model: predicts a label or values, and this dataset's target is of kind {target}{hint}")
        self.network = network
        self.classifies, self.has_several = target == "label", target == "values"
        self.target_std = target_std
        self.criterion_name = ("cross_entropy" if self.classifies else "mse") if loss == "auto" else loss
        if self.criterion_name == "cross_entropy" and not self.classifies:
            raise ValueError("loss=cross_entropy needs classes; this dataset has values to predict (loss=mse).")
        self.label_smoothing = label_smoothing
        self.monitor = {"label": "accuracy", "value": "rmse", "values": "r2"}[target]
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)  # only training needs them

    @property
    def loss_name(self) -> str | None:
        plain = self.criterion_name == "cross_entropy" and not self.label_smoothing and self.class_weights is None
        return "log_loss" if plain and not hasattr(self.network, "auxiliary_weight") else None

    def forward(self, x: Tensor) -> Any:
        return self.network(x)

    def weigh_classes(self, weights: Sequence[float]) -> None:
        if not self.classifies:
            super().weigh_classes(weights)
        self.class_weights = torch.tensor(weights, dtype=torch.float32)

    def criterion(self, scores: Tensor, y: Tensor) -> Tensor:
        """Mean loss of scores (batch, num_outputs) against classes (batch,) int64, class probabilities (batch, num_outputs) float32,
        or standardized values (batch,) or (batch, num_outputs) float32."""
        if self.criterion_name == "cross_entropy":
            return F.cross_entropy(scores, y, self.class_weights, label_smoothing=self.label_smoothing)
        if self.classifies:
            targets = y if y.is_floating_point() else F.one_hot(y, scores.shape[1]).to(scores.dtype)
            if self.class_weights is None:
                return F.mse_loss(scores, targets)
            weights = (targets * self.class_weights).sum(1, keepdim=True)
            return (weights * (scores - targets) ** 2).mean() / weights.mean()
        return F.mse_loss(scores if y.ndim == 2 else scores.squeeze(1), y)

    def loss(self, batch: Batch) -> Loss:
        y, scores = batch["labels"], self.feed(batch)
        extra: Sequence[Tensor] = ()
        if isinstance(scores, tuple):  # in training, a network with auxiliary heads returns their scores too
            scores, *extra = scores
        value = self.criterion(scores, y)
        sums = {"loss": value.detach().float() * len(y)}
        for auxiliary in extra:
            value = value + cast(float, self.network.auxiliary_weight) * self.criterion(auxiliary, y)
        if self.classifies:
            classes = y.argmax(1) if y.is_floating_point() else y  # for a mixed image, the class with the larger share
            sums["accuracy"] = (scores.detach().argmax(1) == classes).sum()
        return Loss(value, len(y), sums)

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        if self.classifies or self.has_several or not means:  # several values have no unit in common
            return means
        return {**means, "rmse": means["loss"] ** 0.5 * self.target_std}

    def predict(self, batch: Batch) -> Outputs:
        """`probabilities` (batch, num_outputs), or standardized `values`: (batch,), or (batch, num_outputs) if there are several."""
        scores = self.feed(batch).float()
        if not self.classifies:
            return {"values": scores if self.has_several else scores.squeeze(1)}
        if self.criterion_name == "cross_entropy":
            # three times as fast as softmax(1) for few classes
            return {"probabilities": scores.t().softmax(0).t()}
        # least squares on one-hot targets estimates probabilities, but not between 0 and 1
        shares = scores.clamp(min=1e-7)
        return {"probabilities": shares / shares.sum(1, keepdim=True)}
