"""Predicted masks: images beside their true and predicted classes, and what a transposed convolution does to one pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image
from mlrun.data.module import DataModule
from mlrun.data.predictions import MaskPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

PIXELS = 5  # height and width of the input of the transposed convolution


class Masks(View):
    """Of `MaskPredictions`: `masks`, some images of the part, `worst_masks`, those with the most wrong pixels, each image followed by its true and
    its predicted mask; `deconvolution` of networks with transposed convolutions."""

    parts = {"deconvolution": ""}

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.drawing import canvas, colour_of, drawn_mask
        from mlrun.report.scenes import SHOWN, picture_grid, with_legend

        found, examples = evaluation.predictions, evaluation.examples
        image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
        if not isinstance(found, MaskPredictions) or image is None or examples is None:
            return
        wrong = found.mistakes(examples[data.targets[0]])
        count = SHOWN // 3
        colours = {str(label): colour_of(place) for place, label in enumerate(found.classes[1:])}
        for name, rows, title in (
            ("masks", np.arange(min(count, len(wrong))), "Image, true mask, predicted mask"),
            (
                "worst_masks",
                np.argsort(-wrong, kind="stable")[:count],
                "The worst images: image, true mask, predicted mask",
            ),
        ):
            pictures, captions = [], []
            for row in map(int, rows):
                example = examples[row]
                pictures += [
                    canvas(example[image], reduced=True)[0],
                    drawn_mask(example[image], np.asarray(example[data.targets[0]]), found.classes, reduced=True),
                    drawn_mask(example[image], np.asarray(found.masks[row]), found.classes, reduced=True),
                ]
                captions += ["image", "true", f"{wrong[row]:.1%} wrong"]
            yield name, with_legend(picture_grid(pictures, captions, title, columns=3), colours)
        yield from self._deconvolution(learner)

    @staticmethod
    def _deconvolution(learner: Learner) -> Iterator[tuple[str, Any]]:
        import torch

        from mlrun.networks.vision.upsampling import TransposedUpsampling
        from mlrun.report.scenes import one_pixel

        layers = [layer for layer in learner.task.modules() if isinstance(layer, TransposedUpsampling)]
        if not layers:
            return
        before = np.zeros((PIXELS, PIXELS))
        before[PIXELS // 2, PIXELS // 2] = 1
        results, captions = [], []
        layer = layers[-1]
        strongest = layer.weight.detach().flatten(2).norm(dim=2).flatten().argsort(descending=True)[:5]
        fresh = TransposedUpsampling(1, 1, int(layer.stride[0]))
        with torch.no_grad():
            pixel = torch.tensor(before, dtype=torch.float32)[None, None]
            results.append(fresh(pixel)[0, 0].numpy())
            captions.append("before training")
            for place in strongest.tolist():
                channel, output = divmod(place, layer.weight.shape[1])
                kernel = layer.weight[channel : channel + 1, output : output + 1].cpu()
                fresh.weight.copy_(kernel)
                results.append(fresh(pixel)[0, 0].numpy())
                captions.append(f"channel {channel} to {output}")
        yield "deconvolution", one_pixel(before, results, captions, "Response of a transposed convolution to one pixel")
