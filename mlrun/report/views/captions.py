"""Captions: all of them as a table, captions.csv, and where the decoder looks at each word, caption_attention.png."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.module import DataModule
from mlrun.data.predictions import TextPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

IMAGES = 5
LEAST = 5.5  # inches, least width of the figure


class Captions(View):
    """Of `TextPredictions` of images; the attention of a network whose forward pass returns it (`with_attention`)."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.translation import translations

        predictions = evaluation.predictions
        if not isinstance(predictions, TextPredictions):
            return
        truth = evaluation.examples[data.targets[0]]
        rows = [str(row) for row in range(len(predictions))]
        yield (
            "captions",
            translations(rows, predictions.texts, predictions.references(truth), predictions.mistakes(truth)),
        )
        for batch in data.loader(evaluation.part, learner.preprocessor, learner.task.device) or ():
            yield "caption_attention", _attention(learner, batch["pixel_values"][:IMAGES])
            break


def _attention(learner: Learner, images: Any) -> Any:
    """A row of pictures for each image: the image, then the places that the decoder attends to at each word of its caption."""
    import torch
    from torch.nn import functional as F

    from mlrun.data.preprocess.tokenizer import PAD
    from mlrun.report.convolution import overlaid
    from mlrun.report.images import mosaic_figure
    from mlrun.tasks.translation import beginning

    task: Any = learner.task
    with torch.inference_mode():
        task.eval()
        tokens = task.generate(images, 1).tokens
        _, weights = task.network(images, torch.cat([beginning(images), tokens[:, :-1]], 1), with_attention=True)
        rows, columns = task.network.grid(images).shape[2:]
        maps = weights.mean(1).unflatten(-1, (rows, columns)).float()
        maps = F.interpolate(maps, size=images.shape[2:], mode="nearest")
        maps = (maps / maps.amax((2, 3), keepdim=True)).cpu().numpy()
    encoder: Any = learner.preprocessor
    vocabulary = encoder.encoders[next(iter(encoder.targets))].tokenizer.vocabulary
    pixels = images.cpu().numpy()
    blank = np.ones((*pixels.shape[2:], 3))
    shown, names = [], []
    for at, ids in enumerate(tokens.tolist()):
        words = [vocabulary[token] for token in ids if token != PAD]
        tiles = overlaid(pixels[[at] * (1 + len(words))], np.concatenate([0 * maps[at, :1], maps[at, : len(words)]]))
        filling = tokens.shape[1] - len(words)
        shown += [*tiles, *[blank] * filling]
        names += ["image", *("(end)" if word == "<eos>" else word for word in words), *[""] * filling]
    title = "Attention of the decoder at each word"
    columns = 1 + tokens.shape[1]
    tile = max(1.15, LEAST / columns)
    return mosaic_figure(shown, names, title, cmap=None, limits=(0, 1), tile=tile, columns=columns)
