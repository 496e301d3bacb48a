"""Arithmetic with the codes of a generator: walks from one class to another (Radford et al. 2016, section 6.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from mlrun.evaluation.resemblance import Resemblance
from mlrun.report.captions import explained
from mlrun.report.samples import grid
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner

SEED, CODES, CHUNK = 3, 1000, 250  # of the noise; codes whose images are classified; images generated at once
# walks; images of each; its end, beyond 1 because the mean codes lie close together
OF_CLASS, STEPS, BEYOND = 8, 7, 3.0


class LatentArithmetic(View):
    """Of an unconditional `GAN` task of images with classes predicted by the reference classifier: codes of one class plus increasing multiples
    of the difference between the mean codes of another class and of the first."""

    part = ""

    @torch.no_grad()
    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        task, measured = learner.task, evaluation.evaluators.get("Resemblance")
        if (
            not task.makes_images
            or task.num_classes
            or not isinstance(measured, Resemblance)
            or measured.reference is None
        ):
            return
        task.eval()
        code = task.noise(CODES, task.seeded(SEED))
        with task.averaged():
            made = torch.cat([task.generator(part) for part in code.split(CHUNK)])
            _, predicted = measured.reference.classify(task.natural(made))
            classes = torch.from_numpy(predicted).to(code.device)
            first, second = classes.bincount().topk(2).indices
            way = code[classes == second].mean(0) - code[classes == first].mean(0)
            share = torch.linspace(0, BEYOND, STEPS, device=code.device)[None, :, None]
            walk = task.generator((code[classes == first][:OF_CLASS][:, None] + share * way).flatten(0, 1))
        yield (
            "latent_arithmetic",
            explained(
                grid(task.natural(walk), columns=STEPS),
                f"Each row: a sample of class {first} moved toward class {second}.",
            ),
        )
