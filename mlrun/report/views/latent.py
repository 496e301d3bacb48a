"""Walks through the latent space of a variational autoencoder, decoded to images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlrun.data.features import Label
from mlrun.report.captions import explained
from mlrun.report.samples import grid
from mlrun.report.view import View
from mlrun.tasks.vae import divergence

if TYPE_CHECKING:
    from PIL.Image import Image

    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner

RESTORED, PAIRS, OF_CLASS = 10, 8, 8  # reconstructions, interpolated pairs, images moved to another class
STEPS, SIDE = 9, 12  # images of a walk, and along each side of the plane
BEYOND = 1.5  # end of the walk from a class to another, in units of the distance between their mean codes


class Latent(View):
    """Of a `VAE` task of images, from the first batch of the part: reconstructions, interpolations, the plane of the two most informative
    components of a code, and, if classes are known but not given to the decoder, walks from one class to another."""

    parts = {"latent_grid": ""}

    @torch.no_grad()
    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        task = learner.task
        if not task.makes_images:
            return
        task.eval()
        batch = next(iter(data.loader(evaluation.part, learner.preprocessor, task.device)))
        x, classes = next(iter(batch.values())), batch.get("labels")
        labels = classes if task.num_classes else None
        mean, log_variance = task.encoder(x)

        def decoded(code: Tensor, labels: Tensor | None, columns: int) -> Image:
            return grid(task.natural(task.decoded(code, labels)), columns=columns)

        restored = task.decoded(mean[:RESTORED], None if labels is None else labels[:RESTORED])
        both = grid(task.natural(torch.cat([x[:RESTORED], restored])), columns=len(restored))
        yield "restored", explained(both, "First row: images. Second row: reconstructions.")

        pairs = min(PAIRS, len(x) // 2)
        share = torch.linspace(0, 1, STEPS, device=x.device)[None, :, None]
        walk = mean[:pairs, None] * (1 - share) + mean[pairs : 2 * pairs, None] * share
        of_first = None if labels is None else labels[:pairs].repeat_interleave(STEPS)
        walks = decoded(walk.flatten(0, 1), of_first, STEPS)
        yield "interpolation", explained(walks, "Each row: interpolation between the codes of two images.")

        used = divergence(mean, log_variance, by_component=True).mean(0).topk(min(2, mean.shape[1])).indices
        quantiles = torch.special.ndtri(torch.linspace(0.5 / SIDE, 1 - 0.5 / SIDE, SIDE, device=x.device))
        plane = torch.zeros(SIDE * SIDE, mean.shape[1], device=x.device)
        plane[:, used] = torch.cartesian_prod(*[quantiles] * len(used)).reshape(-1, len(used))[: SIDE * SIDE]
        codes = decoded(plane, None if labels is None else labels[:1].repeat(len(plane)), SIDE)
        yield (
            "latent_grid",
            explained(codes, "Decoded grid of the two most informative components, at normal quantiles."),
        )

        if isinstance(data.target, Label) and labels is None:
            first, second = classes.bincount().topk(2).indices
            way = mean[classes == second].mean(0) - mean[classes == first].mean(0)
            share = torch.linspace(0, BEYOND, STEPS, device=x.device)[None, :, None]
            walk = mean[classes == first][:OF_CLASS, None] + way * share
            names = [data.target.names[int(one)] for one in (first, second)]
            walks = decoded(walk.flatten(0, 1), None, STEPS)
            yield (
                "latent_arithmetic",
                explained(walks, f"Each row: an image of class {names[0]} moved toward class {names[1]}."),
            )
