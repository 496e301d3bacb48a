"""Policy gradients: REINFORCE with a baseline, advantage actor-critic, proximal policy optimization.

One derives from the other: what differs is how long is acted before learning, how far a return is followed before the critic's
value takes over (lambda), and how often the same steps are learned from.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.tasks.control import Control


class PolicyGradient(Control):
    """Ascends E[log pi(a|s) A(s, a)], with A from generalized advantage estimation (Schulman et al. 2016).

    Args:
        network: the actor, observations (batch, *input_shape) -> scores of the actions before the softmax (batch, num_actions).
        critic: observations -> values (batch, 1), the learned baseline.
        discount: of a reward one step later.
        gae_lambda: 1: advantages from whole returns; 0: from one step and the critic.
        entropy_weight: bonus for undecided policies. value_weight: of the critic's squared error.
        normalize_advantages: to mean 0 and standard deviation 1, in each update.

    Truncated episodes are continued with the critic's value of their last state; terminated ones are worth nothing more.
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
    def act(self):
        self.rollout = rollout = Rollout(self.stream.observations)
        for _ in range(max(1, self.steps_per_round // self.stream.num_envs)):
            self.step(rollout)
        self.steps += rollout.count

    def step(self, rollout: Rollout) -> None:
        stream = self.stream
        scores = self.scores(torch.from_numpy(stream.observations).to(self.device)).cpu()
        noise = torch.empty_like(scores).exponential_(generator=self.generator)
        # argmax of scores plus Gumbel noise draws from their softmax
        actions = (scores - noise.log()).argmax(1).numpy()
        valid = ~stream.resets
        rollout.append(actions, *stream.step(actions), valid, stream.observations)

    def learn(self):
        rollout, device = self.rollout, self.device
        observations = rollout.stacked("observations").to(device)  # (steps + 1, environments, ...)
        with torch.no_grad():
            values = self.critic(observations.flatten(0, 1)).view(observations.shape[:2]).cpu().numpy()
        advantages = advantage_estimates(
            rollout.stacked("rewards").numpy(), values, rollout.stacked("terminated").numpy(), rollout.stacked("truncated").numpy(),
            self.discount, self.gae_lambda,
        )  # fmt: skip
        valid = rollout.stacked("valid").flatten()
        advantages = torch.from_numpy(advantages).flatten()
        returns = advantages + torch.from_numpy(values[:-1]).flatten()
        flat = (observations[:-1].flatten(0, 1), rollout.stacked("actions").flatten(), advantages, returns)
        return self.update(*(part[valid.to(part.device)].to(device) for part in flat))

    def update(self, observations: Tensor, actions: Tensor, advantages: Tensor, returns: Tensor) -> dict[str, Tensor]:
        """observations (rows, ...), the others (rows,). One step on all rows, since they were drawn from this very policy."""
        losses = self.losses(observations, actions, advantages, returns)
        self.descend(losses["loss"])
        return {name: value.detach() for name, value in losses.items()}

    def losses(self, observations, actions, advantages, returns, old_log_probability=None) -> dict[str, Tensor]:
        log_probabilities = self.scores(observations).log_softmax(1)
        log_probability = log_probabilities.gather(1, actions[:, None]).squeeze(1)
        if self.normalize_advantages and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        policy = self.policy_loss(log_probability, advantages, old_log_probability)
        value = F.mse_loss(self.critic(observations).squeeze(1), returns)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(1).mean()
        loss = policy + self.value_weight * value - self.entropy_weight * entropy
        return {"loss": loss, "policy_loss": policy, "value_loss": value, "entropy": entropy}

    def policy_loss(self, log_probability, advantages, old_log_probability=None) -> Tensor:
        return -(log_probability * advantages).mean()

    def values(self, data):
        return None


class A2C(PolicyGradient):
    """Advantage actor-critic: a few steps of several environments, one update (Mnih et al. 2016, synchronous)."""


class Reinforce(PolicyGradient):
    """REINFORCE: whole episodes, reward-to-go minus a learned baseline (Williams 1992; Sutton et al. 2000).

    A round is one episode of each environment, all begun together; `steps_per_round` is ignored, and what an environment does while
    it waits for the longest episode is neither counted nor learned from.
    baseline_updates: steps of critic (and none of the actor) after each update, on the same returns.
    """

    def __init__(self, network: nn.Module, critic: nn.Module, baseline_updates: int = 0, **options):
        super().__init__(network, critic, **options)
        self.baseline_updates = baseline_updates
        self.epoch_end = np.inf  # in steps; known while an epoch is under way

    def train_loader(self, data, device, shard):
        super().train_loader(data, device, shard)
        return UntilDone(self)

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.epoch_end = (self.steps // self.steps_per_epoch + 1) * self.steps_per_epoch

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        self.epoch_end = np.inf

    @torch.inference_mode()
    def act(self):
        stream = self.stream
        stream.begin()
        self.rollout = rollout = Rollout(stream.observations)
        playing = np.ones(stream.num_envs, dtype=bool)
        finished = len(stream.finished)
        while playing.any():
            self.step(rollout)
            rollout.valid[-1] = playing.copy()
            playing &= ~stream.resets
        del stream.finished[finished + stream.num_envs :]  # second episodes of those that waited
        self.steps += int(np.sum(rollout.valid))

    def update(self, observations, actions, advantages, returns):
        means = super().update(observations, actions, advantages, returns)
        for _ in range(self.baseline_updates):
            self.descend(F.mse_loss(self.critic(observations).squeeze(1), returns))
        return means


class PPO(PolicyGradient):
    """Proximal policy optimization: several epochs over the same steps, the change of each probability clipped (Schulman et al. 2017).

    clip: how far the ratio of new to old probability counts, 1 - clip to 1 + clip. passes: epochs over a round's steps.
    batch_size: rows of one update.
    """

    def __init__(
        self,
        network: nn.Module,
        critic: nn.Module,
        clip: float = 0.2,
        passes: int = 20,
        batch_size: int = 256,
        **options,
    ):
        super().__init__(network, critic, **options)
        if clip <= 0:
            raise ValueError(f"clip={clip}: must be positive")
        self.clip, self.passes, self.batch_size = clip, passes, batch_size

    def update(self, observations, actions, advantages, returns):
        with torch.no_grad():
            old = self.scores(observations).log_softmax(1).gather(1, actions[:, None]).squeeze(1)
        sums, count = {}, 0
        for _ in range(self.passes):
            order = torch.randperm(len(actions), generator=self.generator).to(actions.device)
            for rows in order.split(self.batch_size):
                losses = self.losses(observations[rows], actions[rows], advantages[rows], returns[rows], old[rows])
                self.descend(losses["loss"])
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0) + value.detach()
                count += 1
        return {name: value / count for name, value in sums.items()}

    def policy_loss(self, log_probability, advantages, old_log_probability=None):
        ratio = (log_probability - old_log_probability).exp()
        return -torch.minimum(ratio * advantages, ratio.clamp(1 - self.clip, 1 + self.clip) * advantages).mean()


class Rollout:
    """What was seen in successive steps of several environments; lists over time of (environments, ...) arrays."""

    def __init__(self, observations: np.ndarray):
        self.observations = [observations.copy()]
        self.actions, self.rewards, self.terminated, self.truncated, self.valid = [], [], [], [], []

    def append(self, actions, rewards, terminated, truncated, valid, next_observations) -> None:
        self.actions.append(actions)
        self.rewards.append(rewards.copy())
        self.terminated.append(terminated.copy())
        self.truncated.append(truncated.copy())
        self.valid.append(valid)
        self.observations.append(next_observations.copy())

    @property
    def count(self) -> int:
        return len(self.actions) * len(self.actions[0])

    def stacked(self, name: str) -> Tensor:
        """(steps, environments, ...); observations have one step more."""
        return torch.from_numpy(np.stack(getattr(self, name)))


def advantage_estimates(rewards, values, terminated, truncated, discount: float, gae_lambda: float) -> np.ndarray:
    """A_t = sum over k of (discount * lambda)^k * delta_{t+k} to the episode's end, delta = r + discount * V(s') - V(s).

    rewards, terminated, truncated: (steps, environments); values: (steps + 1, environments), where values[t + 1] belongs to the state
    after step t, also at an episode's end. V(s') counts nothing after a terminal step. Returns float32 (steps, environments); a
    row that only began an episode gets a number without meaning.
    """
    advantages = np.zeros_like(rewards, dtype=np.float32)
    following = np.zeros(rewards.shape[1], dtype=np.float32)
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + discount * values[t + 1] * ~terminated[t] - values[t]
        following = delta + discount * gae_lambda * ~(terminated[t] | truncated[t]) * following
        advantages[t] = following
    return advantages


class UntilDone:
    """Empty batches until the epoch's number of environment steps is reached; how many, nobody knows before.

    Lightning asks for the first one before the epoch, or even the training, has begun.
    """

    def __init__(self, task: Reinforce):
        self.task = task

    def __iter__(self):
        while self.task.steps < self.task.epoch_end:
            yield 0
