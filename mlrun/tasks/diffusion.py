"""Denoising diffusion: noise is taken from noise until data are left (Ho et al. 2020; Nichol & Dhariwal 2021; Song et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlrun.generation.diffusion import alpha_bars, denoised, diffuse, guided, implicit, spread_times, target, visited
from mlrun.tasks.generation import FIXED_NOISE, Generation

VALIDATION_SEED = (
    20  # of times and noise on the validation part: the same in every epoch, so that epochs can be compared
)
# of the pictures in the course of training: images, and steps that sampling visits at most
PREVIEW_IMAGES, PREVIEW_STEPS = 40, 20
# of the figure of the way back: columns, which images, how many points
STRIP_TIMES, STRIP_IMAGES, STRIP_POINTS = 9, (0, 3, 5, 8), 1500
FILM_IMAGES, FILM_PICTURES, FILM_RATE = 100, 50, 10  # images or pictures at most; pictures per second
SCALES = (0.0, 1.0, 2.0, 4.0)  # of guidance, drawn side by side


class Diffusion(Generation):
    """Minimizes the mean squared error of what the network says of x_t: the noise, or v (DDPM's "simple" loss, eq. 14).

    Conditional where the network has `num_classes`. It then sees "no class" in `label_dropout` of the rows, so that it also knows the data
    as a whole, and sampling can lead away from that (`guidance`). `predict` gives rows what they look like after noise of half the steps
    is taken from them again: (rows, *input_shape).

    Args:
        network: (batch, *input_shape), times (batch,), classes (batch,) or None -> (batch, *input_shape).
        steps: of the noise, the paper's T.
        schedule: "linear" or "cosine", of the noise.
        prediction: "noise" or "v".
        sampler: "ddpm" draws noise at every step (ancestral sampling), "ddim" only where eta > 0.
        sampling_steps: how many of the steps sampling visits; None: all.
        eta: of DDIM; 0 draws nothing after the first noise.
        guidance: 1: none; more: samples more typical of their class, and less diverse.
        clip: what is predicted for x_0 is cut to [-clip, clip] on the way, the range of the data; None: never.
    """

    monitor, mode = "val/loss", "min"

    def __init__(
        self,
        network: nn.Module,
        steps: int = 1000,
        schedule: Literal["linear", "cosine"] = "cosine",
        prediction: Literal["noise", "v"] = "v",
        label_dropout: float = 0.1,
        sampler: Literal["ddpm", "ddim"] = "ddim",
        sampling_steps: int | None = 50,
        eta: float = 0.0,
        guidance: float = 1.0,
        clip: float | None = None,
        **options,
    ):
        super().__init__(**options)
        self.network, self.num_classes = network, network.num_classes
        self.steps, self.prediction, self.label_dropout = steps, prediction, label_dropout
        self.sampler, self.sampling_steps, self.eta, self.guidance, self.clip = (
            sampler,
            sampling_steps,
            eta,
            guidance,
            clip,
        )
        visited(steps, sampling_steps)  # refuses
        self.register_buffer("alpha_bar", alpha_bars(schedule, steps), persistent=False)
        self.average("network")

    # --- training -------------------------------------------------------------------------------------------------

    def training_step(self, batch, batch_index):
        loss = self.loss(batch, self.random, self.label_dropout)
        self.tally("train", len(loss), loss=loss.detach().sum())
        return loss.mean()

    def validation_step(self, batch, batch_index):
        generator = torch.Generator(self.device).manual_seed(VALIDATION_SEED + batch_index)
        with self.averaged():
            loss = self.loss(batch, generator, label_dropout=0.0)
        self.tally("val", len(loss), loss=loss.sum())

    def on_validation_epoch_end(self):
        self.log_dict(self.epoch_metrics("val"))  # and no samples, which take longer than an epoch of training

    def loss(self, batch, generator: torch.Generator, label_dropout: float) -> Tensor:
        """(batch,): of one time and one noise for each row."""
        x, label = batch
        time = spread_times(len(x), self.steps, generator, self.device)
        noise = torch.randn(x.shape, generator=generator, device=self.device)
        alpha_bar = self.alpha_bar[time]
        said = self.say(diffuse(x, noise, alpha_bar), time, self.hidden(label, generator, label_dropout))
        return (said - target(self.prediction, x, noise, alpha_bar)).square().flatten(1).mean(1)

    def hidden(self, label: Tensor, generator: torch.Generator, share: float) -> Tensor | None:
        """The classes (batch,), a share of them replaced by "no class"."""
        if not self.num_classes:
            return None
        return torch.where(
            torch.rand(label.shape, generator=generator, device=self.device) < share, self.num_classes, label
        )

    def say(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        """The network is told the time as if there were 1000 steps: its embedding is made for that range."""
        return self.network(x, time * (1000 / self.steps), label).float()

    # --- sampling -------------------------------------------------------------------------------------------------

    def sample(self, count, generator, labels=None):
        x = self.noise(count, generator)
        return last(self.way_back(x, generator, labels))

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, *self.input_shape, generator=generator, device=self.device)

    def way_back(
        self,
        x: Tensor,
        generator: torch.Generator,
        labels: Tensor | None = None,
        guidance: float | None = None,
        times: list[int] | None = None,
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """From x (rows, *input_shape), noise, to data: yields (time, x after the step, what the network takes for x_0) for each step.

        times: those visited, falling; None: as `sampling_steps` says. guidance: None: as the model's.
        """
        guidance = self.guidance if guidance is None else guidance
        times = visited(self.steps, self.sampling_steps) if times is None else times
        # DDPM's posterior is DDIM's step with eta 1 (the tests compare them)
        eta = 1.0 if self.sampler == "ddpm" else self.eta
        data = torch.ones((), dtype=self.alpha_bar.dtype, device=x.device)
        for time, after in zip(times, [*times[1:], None]):
            at = torch.full((len(x),), time, device=x.device)
            alpha_bar, before = self.alpha_bar[time], data if after is None else self.alpha_bar[after]
            said = self.say(x, at, labels)
            if labels is not None and guidance != 1:
                said = guided(said, self.say(x, at, torch.full_like(labels, self.num_classes)), guidance)
            x0, noise = denoised(self.prediction, said, x, alpha_bar)
            if self.clip is not None:
                x0 = x0.clamp(-self.clip, self.clip)
                noise = (x - alpha_bar.sqrt().to(x) * x0) / (1 - alpha_bar).sqrt().to(x)
            x, variance = implicit(x0, noise, alpha_bar, before, eta)
            if eta and after is not None:
                x = x + variance.sqrt().to(x) * torch.randn(x.shape, generator=generator, device=x.device)
            yield time, x, x0

    @torch.inference_mode()
    def predict_step(self, batch, batch_index=0):
        """Rows after noise to the middle of the schedule and back, without a class: what is common in the data stays."""
        x = batch[0]
        middle = min(range(self.steps), key=lambda time: abs(float(self.alpha_bar[time]) - 0.5))
        generator = torch.Generator(x.device).manual_seed(FIXED_NOISE)
        # the same for every row, however they are divided
        noise = torch.randn(x[:1].shape, generator=generator, device=x.device).expand_as(x)
        times = [time for time in visited(self.steps, self.sampling_steps) if time < middle]
        with self.averaged():
            return last(
                self.way_back(diffuse(x, noise, self.alpha_bar[middle]), generator, None, times=[middle, *times])
            )

    # --- pictures -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def shown(self):
        every, self.sampling_steps = self.sampling_steps, min(PREVIEW_STEPS, self.sampling_steps or self.steps)
        try:
            return self.draw(PREVIEW_IMAGES if self.makes_images else STRIP_POINTS, FIXED_NOISE)[0]
        finally:
            self.sampling_steps = every

    @torch.no_grad()
    def figures(self, data, part):
        from mlrun.report.control import Film
        from mlrun.report.images import image_rows
        from mlrun.report.points import point_strip

        yield from super().figures(data, part)
        self.eval()
        generator = torch.Generator(self.device).manual_seed(FIXED_NOISE)
        count = FILM_IMAGES if self.makes_images else STRIP_POINTS
        labels = torch.arange(count, device=self.device) % self.num_classes if self.num_classes else None
        x = self.noise(count, generator)
        with self.averaged():
            way = [(self.steps, x, torch.zeros_like(x)), *self.way_back(x, generator, labels)]
        left = [1.0, *(time / self.steps for time, _, _ in way[2:]), 0.0]  # share of the noise's steps after each step
        chosen = sorted({round(at * (len(way) - 1) / (STRIP_TIMES - 1)) for at in range(STRIP_TIMES)})
        captions = [f"t = {left[at]:.0%}" for at in chosen]
        if self.makes_images:
            rows = [
                np.stack([self.natural(way[at][place][image : image + 1], data)[0] for at in chosen])
                for image in STRIP_IMAGES
                for place in (1, 2)
            ]
            yield (
                "denoising",
                image_rows(rows, ["x_t", "seen in it"] * len(STRIP_IMAGES), "From noise to data", captions),
            )
        elif self.input_shape == [2]:
            yield "denoising", point_strip([self.natural(way[at][1], data) for at in chosen], data.content.x, captions)
        stride = -(-len(way) // FILM_PICTURES)
        pictures = [self.picture(x, data) for _, x, _ in [*way[:-1:stride], way[-1]]]
        yield (
            "denoising_film",
            Film([*pictures, *[pictures[-1]] * FILM_RATE], FILM_RATE, f"{len(way) - 1} steps from noise to data"),
        )
        if self.makes_images and self.num_classes and self.label_dropout > 0:
            labels = torch.arange(2 * min(10, self.num_classes), device=self.device) % self.num_classes
            with self.averaged():
                rows = [
                    self.natural([*self.way_back(x[: len(labels)], generator, labels, scale)][-1][1], data)
                    for scale in SCALES
                ]
            yield (
                "guidance",
                image_rows(rows, [f"guidance {scale:g}" for scale in SCALES], "The same noise under stronger guidance"),
            )


def last(way: Iterator[tuple[int, Tensor, Tensor]]) -> Tensor:
    """What the last step leaves; those before are not kept."""
    for _, x, _ in way:  # noqa: B007
        pass
    return x
