"""Generative adversarial networks: one network generates data, another distinguishes them from real ones (Goodfellow et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.target import without_gradients
from mlrun.data.batches import Batch
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.adversarial import Adversarial
from mlrun.tasks.generation import Generation, rows_of
from mlrun.tasks.task import Outputs

Criterion = Literal["non_saturating", "hinge", "least_squares", "wgan_gp"]


class GAN(Generation, Adversarial):
    """Every batch is a step of the discriminator; every `discriminator_steps`-th one also a step of the generator.

    Conditional where the networks have `num_classes`.

    Args:
        generator: codes (batch, latent_size), classes (batch,) or None -> (batch, *input_shape); its attribute `latent_size` is the size of a code.
        discriminator: (batch, *input_shape), classes or None -> scores (batch,), larger for real.
        loss: see `discriminator_loss`.
        gradient_penalty: weight of the penalty of WGAN-GP.
        r1: gamma of the R1 penalty, gamma/2 E|grad D(real)|^2, for the other losses, which then converge on distributions like single points
            too (Mescheder et al. 2018).
        r1_every: batches from one R1 penalty to the next, which has `r1_every` times the weight ("lazy regularization", Karras et al. 2020,
            arXiv:1912.04958, section 3.1): it takes as long as a third of a step.
        discriminator_steps: for each step of the generator.
        warmup: batches before the generator's first step.
        generator_lr, discriminator_lr: learning rates of the two; None: `optim.lr`.
        options: of `Generation`.
    """

    metrics: ClassVar[Mapping[str, Better]] = {
        "discriminator_loss": Better.SMALLER,
        "generator_loss": Better.SMALLER,
    }
    monitor = "mmd"  # of `mlrun.evaluation.resemblance`, measured after every epoch

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Criterion = "non_saturating",
        gradient_penalty: float = 10.0,
        r1: float = 0.0,
        r1_every: int = 1,
        discriminator_steps: int = 1,
        warmup: int = 0,
        generator_lr: float | None = None,
        discriminator_lr: float | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        self.automatic_optimization = False
        if discriminator_steps < 1 or warmup < 0:
            raise ValueError(f"discriminator_steps={discriminator_steps}, warmup={warmup}: at least 1, and at least 0")
        if r1_every < 1:
            raise ValueError(f"r1_every={r1_every}: at least 1")
        if generator.num_classes != discriminator.num_classes:
            raise ValueError(
                f"generator.num_classes={generator.num_classes}, but discriminator.num_classes={discriminator.num_classes}"
            )
        self.generator, self.discriminator = generator, discriminator
        self.num_classes = cast(int, generator.num_classes)
        self.criterion, self.gradient_penalty, self.r1, self.r1_every = loss, gradient_penalty, r1, r1_every
        self.discriminator_steps, self.warmup = discriminator_steps, warmup
        self.generator_lr, self.discriminator_lr = generator_lr, discriminator_lr
        self.batches = 0  # seen so far
        self.average("generator")

    def configure_optimizers(self) -> Any:
        return [
            self.optimizer_for(self.generator, self.generator_lr),
            self.optimizer_for(self.discriminator, self.discriminator_lr),
        ]

    # --- training -------------------------------------------------------------------------------------------------

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Codes (count, latent_size)."""
        return torch.randn(count, cast(int, self.generator.latent_size), generator=generator, device=self.device)

    def training_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        real, label = rows_of(batch), batch["labels"] if self.num_classes else None
        self.batches += 1
        generator_optimizer, discriminator_optimizer = cast(list[Any], self.optimizers())
        loss = self.discriminator_step(discriminator_optimizer, real, label)
        sums = {"discriminator_loss": loss * len(real), "generator_loss": torch.zeros_like(loss)}
        if self.batches > self.warmup and self.batches % self.discriminator_steps == 0:
            value = self.generator_step(generator_optimizer, len(real), label)
            sums["generator_loss"] = value * len(real) * self.discriminator_steps
        self.tally("train", len(real), **sums)
        self.update_average()
        self.step_schedules("step")
        return {"loss": loss}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        if self.validation is not None:  # no loss tells how good the samples are
            self.validation.update(batch)

    def discriminator_step(self, optimizer: Any, real: Tensor, label: Tensor | None) -> Tensor:
        """One update of the discriminator; returns its loss without penalties."""
        with torch.no_grad():
            made = self.generator(self.noise(len(real), self.random), label)
        penalized = self.r1 > 0 and self.criterion != "wgan_gp" and (self.batches - 1) % self.r1_every == 0
        real = real.detach().requires_grad_(penalized)
        scores = self.discriminator(real, label)
        loss = discriminator_loss(self.criterion, scores, self.discriminator(made, label))
        total = loss
        if self.criterion == "wgan_gp":
            total = total + self.gradient_penalty * self.penalty(real, made, label)
        if penalized:
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            total = total + self.r1_every * self.r1 / 2 * slope.square().flatten(1).sum(1).mean()
        self.descend(optimizer, total)
        return loss.detach()

    def penalty(self, real: Tensor, made: Tensor, label: Tensor | None) -> Tensor:
        """E (|grad D| - 1)^2 at random places between real and generated rows (Gulrajani et al. 2017, algorithm 1)."""
        share = torch.rand(len(real), *[1] * (real.ndim - 1), generator=self.random, device=self.device)
        between = (share * real + (1 - share) * made).detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(between, label).sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()

    def generator_step(self, optimizer: Any, count: int, label: Tensor | None) -> Tensor:
        """One update of the generator; returns its loss."""
        with without_gradients(self.discriminator):
            made = self.generator(self.noise(count, self.random), label)
            loss = generator_loss(self.criterion, self.discriminator(made, label))
            self.descend(optimizer, loss)
        return loss.detach()

    def training_state(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def restore_training_state(self, state: Mapping[str, Any]) -> None:
        self.batches = state["batches"]

    # --- use ------------------------------------------------------------------------------------------------------

    def sample(self, count: int, generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
        return self.generator(self.noise(count, generator), labels)

    def predict(self, batch: Batch) -> Outputs:
        """The discriminator's `scores` (rows,), larger for real; where it is conditional, `vectors` (rows, num_classes): a row's score as a
        member of each class."""
        x = rows_of(batch)
        if not self.num_classes:
            return {"scores": self.discriminator(x)}
        classes = (torch.full((len(x),), label, device=x.device) for label in range(self.num_classes))
        return {"vectors": torch.stack([self.discriminator(x, label) for label in classes], dim=1)}


def discriminator_loss(kind: Criterion, real: Tensor, made: Tensor) -> Tensor:
    """Of scores (batch,) of real and generated rows.

    non_saturating: cross-entropy (Goodfellow et al. 2014); hinge (Lim and Ye 2017); least_squares to 1 and 0 (Mao et al. 2017);
    wgan_gp: difference of the means (Arjovsky et al. 2017), to which the penalty is added.
    """
    if kind == "non_saturating":
        return F.softplus(-real).mean() + F.softplus(made).mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + made).mean()
    if kind == "least_squares":
        return ((real - 1).square().mean() + made.square().mean()) / 2
    return made.mean() - real.mean()


def generator_loss(kind: Criterion, made: Tensor) -> Tensor:
    """Of scores (batch,) of generated rows; kind: see `discriminator_loss`."""
    if kind == "non_saturating":
        return F.softplus(-made).mean()
    if kind == "least_squares":
        return (made - 1).square().mean() / 2
    return -made.mean()
