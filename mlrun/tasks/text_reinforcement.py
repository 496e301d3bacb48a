"""Text generation trained by rewards: the model that writes the target is a policy, a whole text its action."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.data.preprocess.pairs import PairPreprocessor
from mlrun.data.preprocess.tokenizer import BOS, PAD
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.generation import decoding
from mlrun.tasks.task import Loss, fixed_copy, same_tensors
from mlrun.tasks.translation import Translation, beginning

ADVANTAGES = ("group", "self_critical", "mean")


class TextReinforcement(Translation):
    """After `likelihood_epochs` of maximum likelihood, maximizes the expected reward of sampled targets by policy gradients, minus
    `kl` times the divergence from the model at that time.

    The advantage of a text is its reward
        "group": standardized over the `group` texts that were sampled for the same source (GRPO, Shao et al. 2024, arXiv:2402.03300),
        "self_critical": minus that of the most probable text (Rennie et al. 2017, arXiv:1612.00563),
        "mean": minus the mean of the batch.

    The divergence is estimated by exp(d) - d - 1 with d = log p_initial - log p for each sampled token, which is never negative. The epoch is chosen by
    the metric of the dataset, not by the reward.

    Args:
        network, measure, max_target_length, options: see `Translation`.
        reward: see `mlrun.generation.rewards`.
        advantage: see above.
        group: texts that are sampled for a source.
        kl: weight of the divergence.
        temperature: of sampling, and so of the policy.
        likelihood_epochs: epochs of maximum likelihood before; 0 for a model that starts from a run.
        reward_lr: learning rate from then on.
    """

    metrics = {**Translation.metrics, "reward": Better.LARGER, "kl": Better.NEITHER}
    preprocessor: PairPreprocessor | None

    def __init__(
        self,
        network: nn.Module,
        measure: str,
        max_target_length: int,
        reward: Callable[..., np.ndarray],
        advantage: Literal["group", "self_critical", "mean"] = "group",
        group: int = 8,
        kl: float = 0.01,
        temperature: float = 1.0,
        likelihood_epochs: int = 0,
        reward_lr: float = 1e-4,
        **options: Any,
    ):
        super().__init__(network, measure, max_target_length, **options)
        if advantage not in ADVANTAGES:
            raise ConfigError(f"model.advantage={advantage}: choose one of {', '.join(ADVANTAGES)}")
        if advantage == "group" and group < 2:
            raise ConfigError(f"model.group={group}: an advantage within the group needs at least 2 texts")
        if temperature <= 0:
            raise ConfigError(
                f"model.temperature={temperature}: must be positive, so that the texts of a source differ"
            )
        if kl < 0:
            raise ConfigError(f"model.kl={kl}: must not be negative")
        self.reward, self.advantage, self.group, self.kl, self.temperature = reward, advantage, group, kl, temperature
        self.likelihood_epochs, self.reward_lr = likelihood_epochs, reward_lr
        self.initial = fixed_copy(network).eval()
        self.register_buffer("has_initial", torch.tensor(False))

    has_initial: Tensor

    def adapted(self) -> None:
        if not same_tensors(self.initial, self.network):
            self.initial = fixed_copy(self.network).eval()

    def on_train_epoch_start(self) -> None:
        if self.current_epoch < self.likelihood_epochs:
            return
        if not self.has_initial:
            self.initial.load_state_dict(self.network.state_dict())
            self.has_initial.fill_(True)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.reward_lr

    def loss(self, batch: Batch) -> Loss:
        if not self.training or self.current_epoch < self.likelihood_epochs:
            return super().loss(batch)
        source = batch["input_ids"].repeat_interleave(self.group, 0)
        labels = batch["labels"].repeat_interleave(self.group, 0)
        self.network.eval()  # what is sampled and what is made more probable come from the same distribution
        self.initial.eval()
        try:
            tokens = self._sampled(source)
            rewards = self.rewards(source, tokens, labels)
            advantages = self._advantages(batch, rewards)
            own = token_log_probabilities(self.network, source, tokens, self.temperature)
            with torch.no_grad():
                initial = token_log_probabilities(self.initial, source, tokens, self.temperature)
        finally:
            self.network.train()
        present = tokens != PAD
        ahead = torch.where(present, initial - own, 0.0)
        divergence = torch.where(present, ahead.exp() - ahead - 1, 0.0).sum() / present.sum()
        gained = torch.where(present, own, 0.0) * advantages[:, None]
        value = -gained.sum() / present.sum() + self.kl * divergence
        count = len(source)
        sums = {"loss": value.detach() * count, "reward": rewards.sum(), "kl": divergence.detach() * count}
        return Loss(value, count, sums)

    def _sampled(self, source: Tensor) -> Tensor:
        """(rows, tokens), outside inference mode."""
        memory, prompt = self.network.encode(source), beginning(source)
        made = decoding.sample(self.network, memory, prompt, self.max_target_length, self.temperature)
        return made.tokens.clone()

    def rewards(self, source: Tensor, tokens: Tensor, labels: Tensor) -> Tensor:
        """(rows,) of texts (rows, tokens) for sources (rows, sources) whose references are labels (rows, targets)."""
        preprocessor = self.preprocessor
        sources = [preprocessor.source.decode(row) for row in source.tolist()]
        texts, references = ([preprocessor.text(row) for row in rows.tolist()] for rows in (tokens, labels))
        return torch.from_numpy(self.reward(sources, texts, references)).to(source.device)

    def _advantages(self, batch: Batch, rewards: Tensor) -> Tensor:
        if self.advantage == "group":
            of_source = rewards.view(-1, self.group)
            centred = of_source - of_source.mean(1, keepdim=True)
            return (centred / (of_source.std(1, keepdim=True) + 1e-4)).flatten()
        if self.advantage == "mean":
            return rewards - rewards.mean()
        best = self.generate(batch["input_ids"], 1).tokens.clone()
        return rewards - self.rewards(batch["input_ids"], best, batch["labels"]).repeat_interleave(self.group)


def token_log_probabilities(network: Any, source: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """(rows, tokens) log-probabilities of the tokens of given texts where they are sampled at a temperature; undefined at padding."""
    given = torch.cat([beginning(source), tokens[:, :-1]], 1)
    scores = network(source, given).float()
    never = torch.zeros(scores.shape[-1], device=scores.device)
    never[[PAD, BOS]] = -math.inf
    found = ((scores + never) / temperature).log_softmax(-1)
    return found.gather(-1, tokens.masked_fill(tokens == PAD, BOS + 1)[..., None]).squeeze(-1)
