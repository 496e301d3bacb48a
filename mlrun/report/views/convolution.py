"""Inside an image classifier: filters, feature maps, class activation maps, and augmented training images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.features import Image, Label
from mlrun.data.module import DataModule
from mlrun.data.preprocess.preprocessor import FeaturePreprocessor
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

IMAGES = 8


class Convolution(View):
    """Of the first images of the part, as network input."""

    parts = {"filters": "", "augmented": "train"}

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.convolution import convolution_figures
        from mlrun.report.images import augmented_images

        kinds = [type(data.features[name]) for name in data.inputs]
        if kinds != [Image] or not isinstance(data.target, Label):
            return
        names = data.target.names
        for batch in data.loader(evaluation.part, learner.preprocessor, learner.task.device) or ():
            x, y = batch["pixel_values"][:IMAGES], batch["labels"][:IMAGES].cpu().numpy()
            yield from convolution_figures(learner.task.network, x, y, names)
            break
        preprocessor = learner.preprocessor
        if isinstance(preprocessor, FeaturePreprocessor) and preprocessor.augment:
            pixels, shares = preprocessor.augmented_examples(data.examples("train"), data.seed)
            yield "augmented", augmented_images(pixels, shares, names)
