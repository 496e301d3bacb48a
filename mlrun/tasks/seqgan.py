"""SeqGAN: a generator of sequences whose reward is a discriminator's opinion (Yu et al. 2017, arXiv:1609.05473)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.target import without_gradients
from mlrun.data.batches import Batch
from mlrun.data.preprocess.symbols import PAD
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.generation import Unsupervised
from mlrun.tasks.task import Loss, Outputs


class SeqGan(Unsupervised):
    """Epochs of maximum likelihood, then of the discriminator alone, then of both.

    The reward of a symbol is the mean probability of "real" of several completions of the sequence up to it (section 3.1 of the paper); the mean over
    the batch is subtracted at every position.

    Args:
        generator: (symbols, state) -> (logits, state), see `mlrun.networks.text.language_models`.
        discriminator: sequences (batch, length) -> two scores (batch, 2), the second one for real.
        length: of a sequence.
        likelihood_epochs, discriminator_epochs: see above; all further epochs train both.
        rollouts: completions of each beginning.
        discriminator_steps: updates of the discriminator for each one of the generator.
        generator_lr: learning rate of the generator by rewards; that of maximum likelihood is the optimizer's.
        discriminator_lr: learning rate of the discriminator.
    """

    metrics = {"loss": Better.SMALLER, "reward": Better.LARGER, "discriminator_loss": Better.NEITHER}
    monitor = "nll_oracle"

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        length: int,
        likelihood_epochs: int = 30,
        discriminator_epochs: int = 3,
        rollouts: int = 4,
        discriminator_steps: int = 3,
        generator_lr: float = 1e-3,
        discriminator_lr: float = 1e-3,
    ):
        super().__init__([length])
        for name, value in {"rollouts": rollouts, "discriminator_steps": discriminator_steps}.items():
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        self.automatic_optimization = False
        self.generator, self.discriminator, self.length = generator, discriminator, length
        self.likelihood_epochs, self.discriminator_epochs = likelihood_epochs, discriminator_epochs
        self.rollouts, self.discriminator_steps = rollouts, discriminator_steps
        self.generator_lr, self.discriminator_lr = generator_lr, discriminator_lr

    def configure_optimizers(self) -> Any:
        rates = (None, self.generator_lr, self.discriminator_lr)
        parts = (self.generator, self.generator, self.discriminator)
        return [self.optimizer_for(part, rate) for part, rate in zip(parts, rates)]

    # --- training -------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        likelihood, rewarded, discriminating = cast(list[Any], self.optimizers())
        real, epoch = batch["input_ids"], self.current_epoch
        sums: dict[str, Tensor] = {}
        if epoch < self.likelihood_epochs:
            value = self.nll(real).mean()
            self._descend(likelihood, value)
            sums["loss"] = value.detach() * len(real)
        else:
            if epoch >= self.likelihood_epochs + self.discriminator_epochs:
                sums["reward"] = self.generator_step(rewarded, len(real)) * len(real)
            for _ in range(self.discriminator_steps):
                value = self.discriminator_step(discriminating, real)
            sums["discriminator_loss"] = value * len(real)
        self.tally("train", len(real), **sums)
        return {"loss": value.detach()}

    def _descend(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=5.0, gradient_clip_algorithm="norm")
        optimizer.step()

    def nll(self, symbols: Tensor) -> Tensor:
        """(rows,) negative log-likelihood per symbol under the generator, for sequences (rows, symbols) padded with PAD."""
        given = F.pad(symbols[:, :-1], (1, 0), value=PAD)
        scores = self._without_padding(self.generator(given, None)[0])
        lost = F.cross_entropy(scores.transpose(1, 2), symbols, ignore_index=PAD, reduction="none")
        return lost.sum(1) / (symbols != PAD).sum(1).clamp(min=1)

    def _without_padding(self, scores: Tensor) -> Tensor:
        return torch.cat([torch.full_like(scores[..., :1], -torch.inf), scores[..., 1:]], -1)

    @torch.no_grad()
    def completed(self, beginning: Tensor, generator: torch.Generator) -> Tensor:
        """(rows, length) sequences that continue (rows, symbols) at random."""
        given = F.pad(beginning, (1, 0), value=PAD)
        symbols, state = [beginning], None
        for _ in range(self.length - beginning.shape[1]):
            scores, state = self.generator(given, state)
            shares = self._without_padding(scores[:, -1]).softmax(-1)
            given = torch.multinomial(shares, 1, generator=generator)
            symbols.append(given)
        return torch.cat(symbols, 1)

    def sampled(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, length) sequences of the generator."""
        return self.completed(torch.zeros(count, 0, dtype=torch.long, device=self.device), generator)

    @torch.no_grad()
    def rewards(self, symbols: Tensor) -> Tensor:
        """(rows, length): what the discriminator thinks of each beginning, over its completions."""
        found = []
        for place in range(1, self.length):
            beginnings = symbols[:, :place].repeat_interleave(self.rollouts, 0)
            opinions = self._real(self.completed(beginnings, self.random))
            found.append(opinions.view(len(symbols), self.rollouts).mean(1))
        return torch.stack([*found, self._real(symbols)], 1)

    def _real(self, symbols: Tensor) -> Tensor:
        """(rows,) probability of being real."""
        return self.discriminator(symbols).softmax(-1)[:, 1]

    def generator_step(self, optimizer: Any, count: int) -> Tensor:
        """One update by rewards; returns the mean reward of whole sequences."""
        self.discriminator.eval()
        symbols = self.sampled(count, self.random)
        rewards = self.rewards(symbols)
        self.discriminator.train()
        given = F.pad(symbols[:, :-1], (1, 0), value=PAD)
        with without_gradients(self.discriminator):
            shares = self._without_padding(self.generator(given, None)[0]).log_softmax(-1)
            chosen = shares.gather(-1, symbols[..., None]).squeeze(-1)
            self._descend(optimizer, -(chosen * (rewards - rewards.mean(0, keepdim=True))).sum(1).mean())
        return rewards[:, -1].mean()

    def discriminator_step(self, optimizer: Any, real: Tensor) -> Tensor:
        """One update on as many generated sequences as real ones; returns the loss."""
        both = torch.cat([self.sampled(len(real), self.random), real])
        kinds = torch.cat([torch.zeros(len(real)), torch.ones(len(real))]).long().to(both.device)
        loss = F.cross_entropy(self.discriminator(both), kinds)
        self._descend(optimizer, loss)
        return loss.detach()

    def noisy_loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        value = self.nll(batch["input_ids"])
        return Loss(value.mean(), len(value))

    # --- use ------------------------------------------------------------------------------------------------------

    def predict(self, batch: Batch) -> Outputs:
        """`scores` (rows,): the log-likelihood per symbol of given sequences."""
        return {"scores": -self.nll(batch["input_ids"])}
