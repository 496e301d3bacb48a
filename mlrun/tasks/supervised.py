"""Prediction of a label or of a value from one input: classification and regression."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.evaluation.outcome import Outcome
from mlrun.tasks.task import Task


class Supervised(Task):
    """Minimizes cross-entropy (classes) or the mean squared error (values, or one-hot classes when `loss` is "mse").

    Args:
        network: maps a batch (batch, ...) to scores (batch, num_outputs).
        problem: "classification" or "regression", a fact of the dataset.
        target_std: spread of the raw target in its own unit; the network learns the standardized target, metrics are reported in that unit.
        label_smoothing: share of the target probability spread over all classes (Szegedy et al. 2016).
    """

    def __init__(
        self,
        network: nn.Module,
        problem: str,
        target_std: float,
        loss: Literal["auto", "cross_entropy", "mse"] = "auto",
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        self.network = network
        self.classifies = problem == "classification"
        self.target_std = target_std
        self.loss = ("cross_entropy" if self.classifies else "mse") if loss == "auto" else loss
        if self.loss == "cross_entropy" and not self.classifies:
            raise ValueError("loss=cross_entropy needs classes; this dataset has values to predict (loss=mse).")
        self.label_smoothing = label_smoothing
        self.monitor, self.mode = ("val/accuracy", "max") if self.classifies else ("val/rmse", "min")

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def criterion(self, scores: Tensor, y: Tensor) -> Tensor:
        """Mean loss of scores (batch, num_outputs) against classes (batch,) int64, shares of them (batch, num_outputs) float32,
        or standardized values (batch,) float32."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(scores, y, label_smoothing=self.label_smoothing)
        if self.classifies:
            return F.mse_loss(scores, y if y.is_floating_point() else F.one_hot(y, scores.shape[1]).to(scores.dtype))
        return F.mse_loss(scores.squeeze(1), y)

    def training_step(self, batch, batch_index):
        return self._step("train", batch)

    def validation_step(self, batch, batch_index):
        self._step("val", batch)

    def _step(self, stage: str, batch) -> Tensor:
        x, y = batch
        scores = self.network(x)
        extra = ()
        if isinstance(scores, tuple):  # in training, a network with auxiliary heads gives their scores too
            scores, *extra = scores
        loss = self.criterion(scores, y)
        detached = loss.detach().float() * len(y)
        for auxiliary in extra:
            loss = loss + self.network.auxiliary_weight * self.criterion(auxiliary, y)
        if self.classifies:
            classes = y.argmax(1) if y.is_floating_point() else y  # of a mixed image, the larger share
            self.tally(stage, len(y), loss=detached, accuracy=(scores.detach().argmax(1) == classes).sum())
        else:
            self.tally(stage, len(y), loss=detached)
        return loss

    def summarize(self, means):
        return means if self.classifies or not means else {**means, "rmse": means["loss"] ** 0.5 * self.target_std}

    @torch.inference_mode()
    def predict_step(self, batch, batch_index=0) -> Tensor:
        """Class probabilities (batch, num_outputs), or standardized values (batch,)."""
        scores = self.network(batch[0]).float()
        if not self.classifies:
            return scores.squeeze(1)
        if self.loss == "cross_entropy":
            return scores.t().softmax(0).t()  # three times as fast as softmax(1) where classes are few
        # least squares on one-hot targets estimates probabilities, but not between 0 and 1
        shares = scores.clamp(min=1e-7)
        return shares / shares.sum(1, keepdim=True)

    def evaluate(self, loader, data):
        outputs, targets = zip(*((self.predict_step(batch), batch[1]) for batch in loader))
        outputs, y = torch.cat(outputs).cpu().numpy(), torch.cat(targets).cpu().numpy()
        if self.classifies:
            self.outcome = Outcome("classification", y, outputs.argmax(axis=1), outputs, outputs.shape[1])
        else:
            mean, std = data.transform.target_mean, data.transform.target_std
            self.outcome = Outcome(
                "regression", y.astype(np.float64) * std + mean, outputs.astype(np.float64) * std + mean
            )
        return self.outcome.metrics()

    def figures(self, data, part):
        from mlrun.report.supervised import supervised_figures

        yield from supervised_figures(data, self.outcome, part)
        if len(data.spec.facts.get("image_shape", ())) == 3 and self.classifies:
            yield from self._convolution_figures(data, part)
        if getattr(data, "augment", None):
            from mlrun.report.images import augmented_images

            yield "augmented", augmented_images(*data.augmented_examples(), data.spec.class_names)

    def _convolution_figures(self, data, part, images=8):
        """Of the first images of the part, as the network is fed."""
        from mlrun.report.convolution import convolution_figures

        for x, y in data.loader(part, self.device) or ():
            yield from convolution_figures(self.network, x[:images], y[:images].cpu().numpy(), data.spec.class_names)
            return
