"""Evaluator of style transfer: how far the image is from the style and from the content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mlrun.evaluation.evaluator import Better, Evaluator, Subject


class Style(Evaluator):
    """Of a `StyleTransfer` task: `style_ratio`, the style loss relative to that of the content image, `content_loss` and `style_loss`, weighted."""

    metrics = {"style_ratio": Better.SMALLER, "style_loss": Better.SMALLER, "content_loss": Better.SMALLER}
    every_epoch = False
    needs_predictions = False

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._batch: Mapping[str, Any] = {}

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: Any) -> None:
        self._batch = batch

    @torch.inference_mode()
    def compute(self) -> dict[str, float]:
        task = self.subject.model.task
        terms = task.terms_of(self._batch)
        return {
            "style_ratio": float(terms["style_loss"] / task.first_style_loss),
            "style_loss": float(terms["style_loss"]),
            "content_loss": float(terms["content_loss"]),
        }
