"""Deep Q-learning (Mnih et al. 2015), with double (van Hasselt et al. 2016) and n-step targets as options."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.environments.replay import Replay
from mlrun.errors import ConfigError
from mlrun.tasks.control import Control


class DQN(Control):
    """Minimizes the Huber loss between Q(s, a) and r + discount * max_b Q_target(s', b) over transitions drawn from a replay.

    Args:
        network: maps observations (batch, *input_shape) to action values (batch, num_actions).
        epsilon: share of the training that is over -> probability of a random action.
        discount: of a reward one step later.
        steps_per_epoch, steps_per_round, max_grad_norm: see `Control`.
        updates_per_round: gradient steps after each round of acting.
        batch_size: transitions of one update.
        replay_size: transitions kept; as small as a round, the replay has no effect.
        learning_starts: environment steps before the first update.
        target_period: environment steps between copies of the network into the target network, in whole rounds; None: no
            target network, the targets come from the network that is being trained.
        n_step: rewards summed before the value of the state reached.
        double: the network chooses the action of s', the target network gives its value.
        save_replay: whether checkpoints hold the replay; without it a resumed run fills a new one.

    Raises:
        ValueError: `n_step` is less than 1.
    """

    def __init__(
        self,
        network: nn.Module,
        epsilon: Callable[[float], float],
        discount: float = 0.99,
        steps_per_epoch: int = 2500,
        steps_per_round: int = 250,
        updates_per_round: int = 125,
        batch_size: int = 64,
        replay_size: int = 100_000,
        learning_starts: int = 1000,
        target_period: int | None = 250,
        n_step: int = 1,
        double: bool = False,
        max_grad_norm: float | None = 10.0,
        save_replay: bool = True,
    ):
        super().__init__(steps_per_epoch, steps_per_round, max_grad_norm)
        if n_step < 1:
            raise ValueError(f"n_step={n_step}: must be at least 1")
        self.network, self.epsilon, self.discount = network, epsilon, discount
        self.updates_per_round, self.batch_size = updates_per_round, batch_size
        self.replay_size, self.learning_starts = replay_size, learning_starts
        self.target_period, self.n_step, self.save_replay = target_period, n_step, save_replay
        self.is_double = double  # `double` is a method of every module

    def doubts(self, max_epochs: int) -> list[str]:
        total = self.steps_per_epoch * max_epochs
        if self.learning_starts <= total:
            return []
        return [
            f"model.learning_starts={self.learning_starts}: the run ends after {total} environment steps, so that nothing is learned"
        ]

    def begin(self) -> None:
        stream = self.stream
        kept = self.replay_size // stream.num_envs
        if kept < self.n_step:
            raise ConfigError(
                f"model.replay_size={self.replay_size}: for {stream.num_envs} environments (dataset.num_envs) that is {kept} steps of each, "
                f"fewer than model.n_step={self.n_step}; set model.replay_size={self.n_step * stream.num_envs} or more"
            )
        self.replay = Replay(self.replay_size, stream.num_envs, stream.observations.shape[1:], self.device)
        self.replay.begin(stream.observations)
        # in a list, so that Lightning does not see it: the copy is neither trained nor part of the model
        self._target = [copy.deepcopy(self.network).requires_grad_(False)]
        self._target_age = 0

    @property
    def target(self) -> nn.Module:
        """The network that values the next observations."""
        return self._target[0] if self.target_period is not None else self.network

    @torch.inference_mode()
    def act(self) -> None:
        stream, count, num_actions = self.stream, self.stream.num_envs, self.data.spec["num_actions"]
        for _ in range(self.steps_together(count)):
            epsilon = self.epsilon(self.progress)
            actions = self.random.integers(0, num_actions, size=count)
            greedy = self.random.random(count) >= epsilon
            if greedy.any():
                scores = self.scores(torch.from_numpy(stream.observations).to(self.device))
                actions = np.where(greedy, scores.argmax(1).cpu().numpy(), actions)
            valid = ~stream.resets
            self.replay.append(actions, *stream.step(actions), valid, stream.observations)
            self.steps += count
            self._target_age += count

    def learn(self) -> dict[str, Tensor]:
        if self.steps < self.learning_starts or not self.replay.holds(self.n_step):
            return {}
        if self.target_period is not None and self._target_age >= self.target_period:
            self.target.load_state_dict(self.network.state_dict())
            self._target_age = 0
        # all transitions of a round at once: neither the replay nor the target network changes between its updates
        drawn = self.replay.sample(self.updates_per_round * self.batch_size, self.n_step, self.discount, self.random)
        constant = self.target_period is not None and not self.is_double
        targets = self.targets(drawn.returns, drawn.next_observations, drawn.weights) if constant else None
        losses, values = [], []
        for start in range(0, len(drawn.actions), self.batch_size):
            rows = slice(start, start + self.batch_size)
            if targets is not None:
                target = targets[rows]
            else:
                target = self.targets(drawn.returns[rows], drawn.next_observations[rows], drawn.weights[rows])
            q = self.network(drawn.observations[rows]).gather(1, drawn.actions[rows, None]).squeeze(1)
            loss = F.smooth_l1_loss(q, target)
            self.descend(loss)
            losses.append(loss.detach())
            values.append(q.detach().mean())
        return {
            "loss": torch.stack(losses).mean(),
            "q": torch.stack(values).mean(),
            "epsilon": torch.tensor(self.epsilon(self.progress)),
        }

    @torch.no_grad()
    def targets(self, returns: Tensor, next_observations: Tensor, weights: Tensor) -> Tensor:
        """returns + weights * value of the next observations, (rows,). Arguments as in `Transitions`."""
        following = self.target(next_observations)
        if self.is_double:
            value = following.gather(1, self.network(next_observations).argmax(1, keepdim=True)).squeeze(1)
        else:
            value = following.max(1).values
        return returns + weights * value

    def memory(self) -> dict[str, Any]:
        kept = {"target": self.target.state_dict(), "target_age": self._target_age}
        return {**kept, "replay": self.replay.state()} if self.save_replay else kept

    def remember(self, state: dict[str, Any]) -> None:
        self._target[0].load_state_dict(state["target"])
        self._target_age = state["target_age"]
        if "replay" in state:
            self.replay.restore(state["replay"])
            if not self.stream.continues:
                self.replay.cut(self.stream.observations)
        else:
            self.replay.begin(self.stream.observations)
