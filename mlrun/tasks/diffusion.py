"""Denoising diffusion: noise is removed from noise until data are left (Ho et al. 2020; Nichol & Dhariwal 2021; Song et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.errors import ConfigError
from mlrun.generation.diffusion import (
    alpha_bars,
    ddim_step,
    denoised,
    diffuse,
    guided,
    sampling_times,
    stratified_times,
    target,
)
from mlrun.tasks.generation import Generation, rows_of
from mlrun.tasks.task import Loss, Outputs

PREVIEW_STEPS = 20  # that sampling for a picture during training visits at most
PREDICTION_SEED = 1  # of the noise that `predict` adds


class Diffusion(Generation):
    """Minimizes the mean squared error of what the network predicts from x_t: the noise, or v (DDPM's "simple" loss, eq. 14).

    Conditional where the network has `num_classes`. It then sees "no class" in `label_dropout` of the rows, so that it also learns the
    distribution of all data, and sampling can move away from that (`guidance`).

    Args:
        network: (batch, *input_shape), times (batch,), classes (batch,) or None -> (batch, *input_shape).
        steps: of the noise, the paper's T.
        schedule: "linear" or "cosine", of the noise.
        prediction: "noise" or "v".
        label_dropout: share of the training rows whose class is hidden.
        sampler: "ddpm" draws noise at every step (ancestral sampling), "ddim" only where eta > 0.
        sampling_steps: how many of the steps sampling visits; None: all.
        eta: of DDIM; 0 draws no noise after the first.
        guidance: 1: none; more: samples more typical of their class, and less diverse.
        clip: predictions of x_0 are cut to [-clip, clip] during sampling, the range of the data; None: never.
        options: of `Generation`.
    """

    validation_seed = 20
    is_thread_safe = False  # `predict` replaces the network by its average
    alpha_bar: Tensor  # (steps,)

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
        **options: Any,
    ):
        super().__init__(**options)
        self.network, self.num_classes = network, cast(int, network.num_classes)
        self.steps, self.prediction, self.label_dropout = steps, prediction, label_dropout
        self.sampler, self.sampling_steps, self.eta = sampler, sampling_steps, eta
        self.guidance, self.clip = guidance, clip
        sampling_times(steps, sampling_steps)  # raises for numbers that do not fit
        self.register_buffer("alpha_bar", alpha_bars(schedule, steps), persistent=False)
        self.average("network")

    # --- training -------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.clip is None:
            return
        low, high = self.first_range()
        if max(-low, high) > 1.001 * self.clip:
            raise ConfigError(
                f"model.clip={self.clip:g}: would cut what is sampled, and {self.data.name} has {low:.3g} to {high:.3g}. Set "
                f"dataset.normalize=symmetric for images, or model.clip={max(-low, high):.2g}, or null"
            )

    def noisy_loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        """Of one time and one noise for each row."""
        x = rows_of(batch)
        time = stratified_times(len(x), self.steps, generator, self.device)
        noise = torch.randn(x.shape, generator=generator, device=self.device)
        alpha_bar = self.alpha_bar[time]
        label = None
        if self.num_classes:
            label = self.hidden(batch["labels"], generator, self.label_dropout if self.training else 0.0)
        predicted = self.predicted(diffuse(x, noise, alpha_bar), time, label)
        loss = (predicted - target(self.prediction, x, noise, alpha_bar)).square().flatten(1).mean(1)
        return Loss(loss.mean(), len(x), {"loss": loss.detach().sum()})

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        with self.averaged():
            super().validation_step(batch, batch_index)

    def hidden(self, label: Tensor, generator: torch.Generator, share: float) -> Tensor:
        """The classes (batch,), a share of them replaced by "no class"."""
        drawn = torch.rand(label.shape, generator=generator, device=self.device)
        return torch.where(drawn < share, self.num_classes, label)

    def predicted(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        """What the network predicts from x_t; it gets the time as if there were 1000 steps, the range that its embedding is made for."""
        return self.network(x, time * (1000 / self.steps), label).float()

    # --- sampling -------------------------------------------------------------------------------------------------

    def sample(self, count: int, generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
        x = self.noise(count, generator)
        return last(self.reverse(x, generator, labels))

    def preview(self, count: int, seed: int) -> Tensor:
        sampling_steps, self.sampling_steps = self.sampling_steps, min(PREVIEW_STEPS, self.sampling_steps or self.steps)
        try:
            return super().preview(count, seed)
        finally:
            self.sampling_steps = sampling_steps

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, *input_shape) standard normal numbers."""
        return torch.randn(count, *self.input_shape, generator=generator, device=self.device)

    def reverse(
        self,
        x: Tensor,
        generator: torch.Generator,
        labels: Tensor | None = None,
        guidance: float | None = None,
        times: Sequence[int] | None = None,
        same_noise: bool = False,
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The reverse process, from noise to data.

        Args:
            x: (rows, *input_shape), noise.
            generator: of the noise that the sampler draws.
            labels: (rows,) classes, None for none.
            guidance: None: the model's.
            times: of the steps, decreasing; None: as `sampling_steps` determines.
            same_noise: draw the same noise for all rows, so that what becomes of a row does not depend on the others.

        Yields:
            (time, x after the step, prediction of x_0) for each step.
        """
        guidance = self.guidance if guidance is None else guidance
        times = sampling_times(self.steps, self.sampling_steps) if times is None else times
        # DDPM's posterior is DDIM's step with eta 1 (the tests compare them)
        eta = 1.0 if self.sampler == "ddpm" else self.eta
        data = torch.ones((), dtype=self.alpha_bar.dtype, device=x.device)
        for time, after in zip(times, [*times[1:], None]):
            at = torch.full((len(x),), time, device=x.device)
            alpha_bar, before = self.alpha_bar[time], data if after is None else self.alpha_bar[after]
            predicted = self.predicted(x, at, labels)
            if labels is not None and guidance != 1:
                unconditional = self.predicted(x, at, torch.full_like(labels, self.num_classes))
                predicted = guided(predicted, unconditional, guidance)
            x0, noise = denoised(self.prediction, predicted, x, alpha_bar)
            if self.clip is not None:
                x0 = x0.clamp(-self.clip, self.clip)
                noise = (x - alpha_bar.sqrt().to(x) * x0) / (1 - alpha_bar).sqrt().to(x)
            x, variance = ddim_step(x0, noise, alpha_bar, before, eta)
            if eta and after is not None:
                count = 1 if same_noise else len(x)
                x = x + variance.sqrt().to(x) * self.noise(count, generator)
            yield time, x, x0

    def predict(self, batch: Batch) -> Outputs:
        """Rows after noise up to the middle of the schedule and back, without a class, in the unit of the data: what is common in the data
        stays. `pixels` of images, `vectors` of other rows, (rows, *input_shape)."""
        x = rows_of(batch)
        middle = min(range(self.steps), key=lambda time: abs(float(self.alpha_bar[time]) - 0.5))
        generator = self.seeded(PREDICTION_SEED)
        noise = self.noise(1, generator).expand_as(x)
        times = [middle, *(time for time in sampling_times(self.steps, self.sampling_steps) if time < middle)]
        with self.averaged():
            noisy = diffuse(x, noise, self.alpha_bar[middle])
            restored = last(self.reverse(noisy, generator, times=times, same_noise=True))
        return {"pixels" if self.makes_images else "vectors": self.natural(restored)}


def last(process: Iterator[tuple[int, Tensor, Tensor]]) -> Tensor:
    """x after the last step; earlier ones are not kept."""
    for _, x, _ in process:  # noqa: B007
        pass
    return x
