"""Generative adversarial networks: one network makes data, another tells them from real ones (Goodfellow et al. 2014)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.target import without_gradients
from mlrun.tasks.generation import Generation

Loss = Literal["non_saturating", "hinge", "least_squares", "wgan_gp"]


class GAN(Generation):
    """Every batch is a step of the discriminator; every `discriminator_steps`-th one also a step of the generator.

    Conditional where the networks have `num_classes`. `predict` gives the discriminator's scores of rows: (rows,), or one per class
    (rows, num_classes).

    Args:
        generator: codes (batch, latent_size), classes (batch,) or None -> (batch, *input_shape); its attribute `latent_size` says how many.
        discriminator: (batch, *input_shape), classes or None -> scores (batch,), larger for real.
        loss: see `discriminator_loss`. gradient_penalty: weight of WGAN-GP's; r1: gamma of the R1 penalty, gamma/2 E|grad D(real)|^2, for the
            other losses, which then converge on distributions like single points too (Mescheder et al. 2018).
        discriminator_steps: for each step of the generator. warmup: batches before the generator's first step.
        generator_lr, discriminator_lr: learning rates of the two; None: `optim.lr`.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Loss = "non_saturating",
        gradient_penalty: float = 10.0,
        r1: float = 0.0,
        discriminator_steps: int = 1,
        warmup: int = 0,
        generator_lr: float | None = None,
        discriminator_lr: float | None = None,
        **options,
    ):
        super().__init__(**options)
        self.automatic_optimization = False
        if discriminator_steps < 1 or warmup < 0:
            raise ValueError(f"discriminator_steps={discriminator_steps}, warmup={warmup}: at least 1, and at least 0")
        if generator.num_classes != discriminator.num_classes:
            raise ValueError(
                f"generator.num_classes={generator.num_classes}, but discriminator.num_classes={discriminator.num_classes}"
            )
        self.generator, self.discriminator = generator, discriminator
        self.num_classes = generator.num_classes
        self.loss, self.gradient_penalty, self.r1 = loss, gradient_penalty, r1
        self.discriminator_steps, self.warmup = discriminator_steps, warmup
        self.generator_lr, self.discriminator_lr = generator_lr, discriminator_lr
        self.batches = 0  # seen so far
        self.average("generator")

    def configure_optimizers(self):
        configured = []
        for part, lr in ((self.generator, self.generator_lr), (self.discriminator, self.discriminator_lr)):
            optimizer = self.optimization.optimizer(self.parameter_groups(part, lr), lr=lr)
            batches, epochs = self.trainer.estimated_stepping_batches, self.trainer.max_epochs
            schedule = self.optimization.scheduler(optimizer, batches, epochs, self.monitor, self.mode)
            configured.append({"optimizer": optimizer, **({"lr_scheduler": schedule} if schedule else {})})
        return configured

    # --- training -------------------------------------------------------------------------------------------------

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, self.generator.latent_size, generator=generator, device=self.device)

    def training_step(self, batch, batch_index):
        real, label = batch[0], batch[1] if self.num_classes else None
        self.batches += 1
        learning_generator, learning_discriminator = self.optimizers()
        loss = self.discriminator_step(learning_discriminator, real, label)
        sums = {"discriminator_loss": loss * len(real)}
        if self.batches > self.warmup and self.batches % self.discriminator_steps == 0:
            sums["generator_loss"] = (
                self.generator_step(learning_generator, len(real), label) * len(real) * self.discriminator_steps
            )
        else:
            sums["generator_loss"] = torch.zeros_like(loss)
        self.tally("train", len(real), **sums)
        self.end_of_batch()
        return {"loss": loss}

    def discriminator_step(self, optimizer, real: Tensor, label: Tensor | None) -> Tensor:
        with torch.no_grad():
            made = self.generator(self.noise(len(real), self.random), label)
        penalized = self.r1 > 0 and self.loss != "wgan_gp"
        real = real.detach().requires_grad_(penalized)
        scores = self.discriminator(real, label)
        loss = discriminator_loss(self.loss, scores, self.discriminator(made, label))
        total = loss
        if self.loss == "wgan_gp":
            total = total + self.gradient_penalty * self.penalty(real, made, label)
        if penalized:
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            total = total + self.r1 / 2 * slope.square().flatten(1).sum(1).mean()
        self.descend(optimizer, total)
        return loss.detach()

    def penalty(self, real: Tensor, made: Tensor, label: Tensor | None) -> Tensor:
        """E (|grad D| - 1)^2 at random places between real and made rows (Gulrajani et al. 2017, algorithm 1)."""
        share = torch.rand(len(real), *[1] * (real.ndim - 1), generator=self.random, device=self.device)
        between = (share * real + (1 - share) * made).detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(between, label).sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()

    def generator_step(self, optimizer, count: int, label: Tensor | None) -> Tensor:
        with without_gradients(self.discriminator):
            loss = generator_loss(
                self.loss, self.discriminator(self.generator(self.noise(count, self.random), label), label)
            )
            self.descend(optimizer, loss)
        return loss.detach()

    def memory(self):
        return {"batches": self.batches}

    def remember(self, state):
        self.batches = state["batches"]

    def descend(self, optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()

    # --- use ------------------------------------------------------------------------------------------------------

    def sample(self, count, generator, labels=None):
        return self.generator(self.noise(count, generator), labels)

    @torch.inference_mode()
    def predict_step(self, batch, batch_index=0):
        """Scores of rows, larger for real: (rows,), or (rows, num_classes) as an image of each class."""
        x = batch[0]
        if not self.num_classes:
            return self.discriminator(x)
        return torch.stack(
            [self.discriminator(x, torch.full((len(x),), label, device=x.device)) for label in range(self.num_classes)],
            dim=1,
        )

    @torch.no_grad()
    def figures(self, data, part):
        yield from super().figures(data, part)
        if self.makes_images and not self.num_classes and self.judge is not None:
            yield from self._arithmetic(data)

    def _arithmetic(self, data, count: int = 1000, steps: int = 7):
        """Codes of one class plus (mean code of another class - mean code of the first), step by step; classes as the judge sees them."""
        from mlrun.report import samples

        self.eval()
        code = self.noise(count, torch.Generator(self.device).manual_seed(3))
        with self.averaged():
            made = torch.cat([self.generator(part) for part in code.split(250)])
            _, seen = self.judge.judge(self.natural(made, data))
            seen = torch.from_numpy(seen).to(code.device)
            first, second = seen.bincount().topk(2).indices
            way = code[seen == second].mean(0) - code[seen == first].mean(0)
            start = code[seen == first][:8]
            # beyond 1: means of codes lie close together
            scale = torch.linspace(0, 3, steps, device=code.device)[None, :, None]
            walk = self.generator((start[:, None] + scale * way).flatten(0, 1))
        yield "latent_arithmetic", samples.grid(self.natural(walk, data), columns=steps)


def discriminator_loss(kind: Loss, real: Tensor, made: Tensor) -> Tensor:
    """Of scores (batch,) of real and made rows. non_saturating: cross-entropy (Goodfellow et al. 2014); hinge (Lim and Ye 2017);
    least_squares to 1 and 0 (Mao et al. 2017); wgan_gp: difference of the means (Arjovsky et al. 2017), its penalty comes on top."""
    if kind == "non_saturating":
        return F.softplus(-real).mean() + F.softplus(made).mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + made).mean()
    if kind == "least_squares":
        return ((real - 1).square().mean() + made.square().mean()) / 2
    return made.mean() - real.mean()


def generator_loss(kind: Loss, made: Tensor) -> Tensor:
    if kind == "non_saturating":
        return F.softplus(-made).mean()
    if kind == "least_squares":
        return (made - 1).square().mean() / 2
    return -made.mean()
