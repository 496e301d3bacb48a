"""Attention rollout of a Vision Transformer: rollout.png."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.features import Image, Label
from mlrun.data.module import DataModule
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

IMAGES = 12


class Rollout(View):
    """Of the first images of the part; of a network with a method `rollout`."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        import torch
        from torch.nn import functional as F

        from mlrun.report.convolution import cam_figure

        network = learner.task.network
        kinds = [type(data.features[name]) for name in data.inputs]
        if kinds != [Image] or not isinstance(data.target, Label) or not hasattr(network, "rollout"):
            return
        for batch in data.loader(evaluation.part, learner.preprocessor, learner.task.device) or ():
            x, y = batch["pixel_values"][:IMAGES], batch["labels"][:IMAGES].cpu().numpy()
            with torch.inference_mode():
                network.eval()
                predicted = network(x).argmax(1).cpu().numpy()
                shares = F.interpolate(network.rollout(x)[:, None], size=x.shape[2:], mode="nearest")[:, 0]
            title = "Attention rollout: patches that the pooled vector attends to"
            yield "rollout", cam_figure(x.cpu().numpy(), shares.cpu().numpy(), y, predicted, data.target.names, title)
            break
