"""Policy gradients: REINFORCE with a baseline, advantage actor-critic, proximal policy optimization.

Each builds on the one before. They differ in how long they act before learning, in how far they follow a return before the
critic's value replaces the rest (lambda), and in how often they learn from the same steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.environments.environment import Environment
from mlrun.tasks.control import Control


class PolicyGradient(Control):
    """Ascends E[log pi(a|s) A(s, a)], with A from generalized advantage estimation (Schulman et al. 2016).

    Args:
        network: the actor, observations (batch, *input_shape) -> scores of the actions before the softmax (batch, num_actions).
        critic: observations -> values (batch, 1), the learned baseline.
        discount: of a reward one step later.
        gae_lambda: 1: advantages from whole returns; 0: from one step and the critic.
        entropy_weight: bonus for the policy's entropy.
        value_weight: of the critic's squared error.
        normalize_advantages: to mean 0 and standard deviation 1, in each update.
        steps_per_epoch, steps_per_round, max_grad_norm: see `Control`.

    The critic's value of the last state stands for the rest of a truncated episode; after a terminal step there is no more reward.

    Raises:
        ValueError: `discount` or `gae_lambda` lies outside of [0, 1].
    """

    def __init__(
        self,
        network: nn.Module,
        critic: nn.Module,
        discount: float = 0.99,
        gae_lambda: float = 1.0,
        entropy_weight: float = 0.0,
        value_weight: float = 0.5,
        normalize_advantages: bool = True,
        steps_per_epoch: int = 5000,
        steps_per_round: int = 256,
        max_grad_norm: float | None = 0.5,
    ):
        super().__init__(steps_per_epoch, steps_per_round, max_grad_norm)
        for name, value in {"discount": discount, "gae_lambda": gae_lambda}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value}: must be in [0, 1]")
        self.network, self.critic = network, critic
        self.discount, self.gae_lambda = discount, gae_lambda
        self.entropy_weight, self.value_weight, self.normalize_advantages = (
            entropy_weight,
            value_weight,
            normalize_advantages,
        )

    @torch.inference_mode()
    def act(self) -> None:
        self.rollout = rollout = Rollout(self.stream.observations)
        for _ in range(self.steps_together(self.stream.num_envs)):
            self.step(rollout)
        self.steps += rollout.count

    def step(self, rollout: Rollout) -> None:
        """One step of all environments by actions drawn from the policy."""
        stream = self.stream
        scores = self.scores(torch.from_numpy(stream.observations).to(self.device)).cpu()
        noise = torch.empty_like(scores).exponential_(generator=self.generator)
        # argmax of scores plus Gumbel noise is a draw from their softmax
        actions = (scores - noise.log()).argmax(1).numpy()
        valid = ~stream.resets
        rollout.append(actions, *stream.step(actions), valid, stream.observations)

    def learn(self) -> dict[str, Tensor]:
        rollout, device = self.rollout, self.device
        observations = rollout.stacked("observations").to(device)  # (steps + 1, environments, ...)
        with torch.no_grad():
            values = self.critic(observations.flatten(0, 1)).view(observations.shape[:2]).cpu().numpy()
        estimates = advantage_estimates(
            rollout.stacked("rewards").numpy(), values, rollout.stacked("terminated").numpy(), rollout.stacked("truncated").numpy(),
            self.discount, self.gae_lambda,
        )  # fmt: skip
        valid = rollout.stacked("valid").flatten()
        advantages = torch.from_numpy(estimates).flatten()
        returns = advantages + torch.from_numpy(values[:-1]).flatten()
        flat = (observations[:-1].flatten(0, 1), rollout.stacked("actions").flatten(), advantages, returns)
        return self.update(*(part[valid.to(part.device)].to(device) for part in flat))

    def update(self, observations: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor) -> dict[str, Tensor]:
        """One step on all rows, which were drawn from the current policy. observations: (rows, ...); the others (rows,).

        Returns:
            the losses without gradient, see `losses`.
        """
        losses = self.losses(observations, actions, advantages, returns)
        self.descend(losses["loss"])
        return {name: value.detach() for name, value in losses.items()}

    def losses(
        self,
        observations: Tensor,
        actions: Tensor,
        advantages: Tensor,
        returns: Tensor,
        old_log_probability: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What is minimized, "loss", and its parts "policy_loss", "value_loss" and "entropy".

        Args:
            observations: (rows, ...). actions, advantages, returns: (rows,).
            old_log_probability: (rows,) of the actions under the policy that chose them, if that is not the current one.
        """
        log_probabilities = self.scores(observations).log_softmax(1)
        log_probability = log_probabilities.gather(1, actions[:, None]).squeeze(1)
        if self.normalize_advantages and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        policy = self.policy_loss(log_probability, advantages, old_log_probability)
        value = F.mse_loss(self.critic(observations).squeeze(1), returns)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(1).mean()
        loss = policy + self.value_weight * value - self.entropy_weight * entropy
        return {"loss": loss, "policy_loss": policy, "value_loss": value, "entropy": entropy}

    def policy_loss(
        self, log_probability: Tensor, advantages: Tensor, old_log_probability: Tensor | None = None
    ) -> Tensor:
        """Mean over the rows; arguments (rows,) as in `losses`."""
        return -(log_probability * advantages).mean()


class A2C(PolicyGradient):
    """Advantage actor-critic: a few steps of several environments, one update (Mnih et al. 2016, synchronous)."""


class Reinforce(PolicyGradient):
    """REINFORCE: whole episodes, reward-to-go minus a learned baseline (Williams 1992; Sutton et al. 2000).

    A round is one episode of each environment, all begun together. `steps_per_round` is ignored. What an environment does while
    it waits for the longest episode is neither counted nor learned from.

    Args:
        network, critic, options: see `PolicyGradient`.
        baseline_updates: further steps of the critic alone after each update, on the same returns.
    """

    def __init__(self, network: nn.Module, critic: nn.Module, baseline_updates: int = 0, **options: Any):
        super().__init__(network, critic, **options)
        self.baseline_updates = baseline_updates
        self.epoch_end = np.inf  # in steps; finite during an epoch

    def train_loader(self, data: Environment, device: torch.device, shard: tuple[int, int]) -> UntilDone:  # type: ignore[override]
        super().train_loader(data, device, shard)
        return UntilDone(self)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.epoch_end = (self.steps // self.steps_per_epoch + 1) * self.steps_per_epoch

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.epoch_end = np.inf

    @torch.inference_mode()
    def act(self) -> None:
        stream = self.stream
        stream.begin()
        self.rollout = rollout = Rollout(stream.observations)
        playing = np.ones(stream.num_envs, dtype=bool)
        finished = len(stream.finished)
        while playing.any():
            self.step(rollout)
            rollout.valid[-1] = playing.copy()
            playing &= ~stream.resets
        valid = np.stack(rollout.valid)
        # the episodes of the round alone: those that wait for the longest one play further, short ones
        earned, lengths = (np.stack(rollout.rewards) * valid).sum(0), valid.sum(0)
        stream.finished[finished:] = zip(earned.tolist(), lengths.tolist())
        self.steps += int(valid.sum())

    def update(self, observations: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor) -> dict[str, Tensor]:
        means = super().update(observations, actions, advantages, returns)
        for _ in range(self.baseline_updates):
            self.descend(F.mse_loss(self.critic(observations).squeeze(1), returns))
        return means


class PPO(PolicyGradient):
    """Proximal policy optimization: several passes over the same steps, the change of each probability clipped (Schulman et al. 2017).

    Args:
        network, critic, options: see `PolicyGradient`.
        clip: the ratio of new to old probability counts from 1 - clip to 1 + clip.
        passes: over the steps of a round.
        batch_size: rows of one update.

    Raises:
        ValueError: `clip` is not positive.
    """

    def __init__(
        self,
        network: nn.Module,
        critic: nn.Module,
        clip: float = 0.2,
        passes: int = 20,
        batch_size: int = 256,
        **options: Any,
    ):
        super().__init__(network, critic, **options)
        if clip <= 0:
            raise ValueError(f"clip={clip}: must be positive")
        self.clip, self.passes, self.batch_size = clip, passes, batch_size

    def update(self, observations: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            old = self.scores(observations).log_softmax(1).gather(1, actions[:, None]).squeeze(1)
        sums: dict[str, Tensor] = {}
        count = 0
        for _ in range(self.passes):
            order = torch.randperm(len(actions), generator=self.generator).to(actions.device)
            for rows in order.split(self.batch_size):
                losses = self.losses(observations[rows], actions[rows], advantages[rows], returns[rows], old[rows])
                self.descend(losses["loss"])
                for name, value in losses.items():
                    sums[name] = sums[name] + value.detach() if name in sums else value.detach()
                count += 1
        return {name: value / count for name, value in sums.items()}

    def policy_loss(
        self, log_probability: Tensor, advantages: Tensor, old_log_probability: Tensor | None = None
    ) -> Tensor:
        ratio = (log_probability - old_log_probability).exp()
        return -torch.minimum(ratio * advantages, ratio.clamp(1 - self.clip, 1 + self.clip) * advantages).mean()


class Rollout:
    """Successive steps of several environments: lists over time of (environments, ...) arrays.

    Args:
        observations: the first ones, as the network is fed.
    """

    def __init__(self, observations: np.ndarray):
        self.observations = [observations.copy()]
        self.actions: list[np.ndarray] = []
        self.rewards: list[np.ndarray] = []
        self.terminated: list[np.ndarray] = []
        self.truncated: list[np.ndarray] = []
        self.valid: list[np.ndarray] = []

    def append(
        self,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        valid: np.ndarray,
        next_observations: np.ndarray,
    ) -> None:
        """Adds one step of all environments, (environments,) each. valid: False where the step only began an episode."""
        self.actions.append(actions)
        self.rewards.append(rewards.copy())
        self.terminated.append(terminated.copy())
        self.truncated.append(truncated.copy())
        self.valid.append(valid)
        self.observations.append(next_observations.copy())

    @property
    def count(self) -> int:
        """Steps of all environments together."""
        return len(self.actions) * len(self.actions[0])

    def stacked(self, name: str) -> Tensor:
        """(steps, environments, ...); observations have one step more."""
        return torch.from_numpy(np.stack(getattr(self, name)))


def advantage_estimates(
    rewards: np.ndarray,
    values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    discount: float,
    gae_lambda: float,
) -> np.ndarray:
    """Generalized advantage estimation (Schulman et al. 2016, equation 16), to the end of each episode:
    A_t = sum over k of (discount * lambda)^k * delta_{t+k}, delta = r + discount * V(s') - V(s), V(s') = 0 after a terminal step.

    Args:
        rewards, terminated, truncated: (steps, environments).
        values: (steps + 1, environments); values[t + 1] belongs to the state after step t, also at the end of an episode.
        discount, gae_lambda: see `PolicyGradient`.

    Returns:
        (steps, environments) float32; meaningless in a row that only began an episode.
    """
    advantages = np.zeros_like(rewards, dtype=np.float32)
    following = np.zeros(rewards.shape[1], dtype=np.float32)
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + discount * values[t + 1] * ~terminated[t] - values[t]
        following = delta + discount * gae_lambda * ~(terminated[t] | truncated[t]) * following
        advantages[t] = following
    return advantages


class UntilDone:
    """Empty batches until the epoch's environment steps are taken; their number is not known before.

    Lightning asks for the first batch before the epoch, or even the training, has begun.
    """

    def __init__(self, task: Reinforce):
        self.task = task

    def __iter__(self) -> Iterator[int]:
        while self.task.steps < self.task.epoch_end:
            yield 0
