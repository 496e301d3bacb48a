"""The path of a diffusion model from noise to data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlrun.report.film import Film
from mlrun.report.samples import picture, points_of
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner

SEED = 1  # of the noise
COLUMNS, ROWS, POINTS = 9, (0, 3, 5, 8), 1500  # of the strip: steps, indices of images, number of points
FILM_IMAGES, FILM_PICTURES, FILM_RATE = 100, 50, 10  # largest numbers of images and pictures; pictures per second
SCALES = (0.0, 1.0, 2.0, 4.0)  # of guidance, side by side

State = tuple[int, Tensor, Tensor]  # (time, x_t, prediction of x_0)


class Denoising(View):
    """Of a `Diffusion` task: x_t after some steps with the prediction of x_0 at each, the same as a film, and, of a conditional model of images,
    samples from the same noise with several strengths of guidance."""

    @torch.no_grad()
    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        task = learner.task
        task.eval()
        generator, count = task.seeded(SEED), FILM_IMAGES if task.makes_images else POINTS
        labels = torch.arange(count, device=task.device) % task.num_classes if task.num_classes else None
        noise = task.noise(count, generator)
        with task.averaged():
            states = [(task.steps, noise, torch.zeros_like(noise)), *task.reverse(noise, generator, labels)]
        yield from self._strip(task, data, states)
        yield from self._film(task, data, states)
        if task.makes_images and task.num_classes and task.label_dropout > 0:
            yield self._guidance(task, noise, generator)

    @staticmethod
    def _strip(task: Any, data: DataModule, states: list[State]) -> Iterator[tuple[str, Any]]:
        from mlrun.report.images import image_rows
        from mlrun.report.points import point_strip

        # remaining fraction of the noise after each step
        left = [1.0, *(time / task.steps for time, _, _ in states[2:]), 0.0]
        shown = sorted({round(at * (len(states) - 1) / (COLUMNS - 1)) for at in range(COLUMNS)})
        captions = [f"t = {left[at]:.0%}" for at in shown]
        if task.makes_images:
            rows = [
                np.stack([task.natural(x[image : image + 1])[0] for x in series])
                for image in ROWS
                for series in ([states[at][1] for at in shown], [states[at][2] for at in shown])
            ]
            names = ["x_t", "predicted x_0"] * len(ROWS)
            yield "denoising", image_rows(rows, names, "From noise to data", captions)
        elif task.input_shape == [2]:
            clouds = [task.natural(states[at][1]) for at in shown]
            yield "denoising", point_strip(clouds, points_of(data), captions)

    @staticmethod
    def _film(task: Any, data: DataModule, states: list[State]) -> Iterator[tuple[str, Any]]:
        stride = -(-len(states) // FILM_PICTURES)
        pictures = [picture(task, data, x) for _, x, _ in [*states[:-1:stride], states[-1]]]
        if pictures[-1] is not None:
            paused = [*pictures, *[pictures[-1]] * FILM_RATE]
            yield "denoising_film", Film(paused, FILM_RATE, f"{len(states) - 1} steps from noise to data")

    @staticmethod
    def _guidance(task: Any, noise: Tensor, generator: torch.Generator) -> tuple[str, Any]:
        from mlrun.report.images import image_rows

        labels = torch.arange(2 * min(10, task.num_classes), device=task.device) % task.num_classes
        with task.averaged():
            ends = [[*task.reverse(noise[: len(labels)], generator, labels, scale)][-1][1] for scale in SCALES]
        names = [f"guidance {scale:g}" for scale in SCALES]
        rows = [task.natural(end) for end in ends]
        return "guidance", image_rows(rows, names, "The same noise with stronger guidance")
