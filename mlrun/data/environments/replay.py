"""Experience replay: what was seen while acting, drawn from again and again (Lin 1992)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch


class Transitions(NamedTuple):
    """n steps from `observations` by `actions`, all (rows, ...).

    returns: sum of discount^k * reward over the steps taken; weights: what the value of `next_observations` counts,
    discount^steps, 0 where the episode terminated (a truncated one goes on in value).
    """

    observations: torch.Tensor
    actions: torch.Tensor
    returns: torch.Tensor
    next_observations: torch.Tensor
    weights: torch.Tensor


class Replay:
    """A ring of the latest steps of several environments.

    Row t holds the observation before step t, and the action, reward and end of that step; the observation after it is the
    one of row t + 1. A row whose step only began a new episode is no transition and never drawn.
    capacity: transitions of all environments together.
    """

    def __init__(self, capacity: int, num_envs: int, observation_shape, device="cpu"):
        rows = capacity // num_envs + 1  # the newest row has an observation only
        if rows < 2:
            raise ValueError(f"replay of {capacity} transitions: too small for {num_envs} environments")
        self.observations = torch.zeros(rows, num_envs, *observation_shape, device=device)
        self.actions = np.zeros((rows, num_envs), dtype=np.int64)
        self.rewards = np.zeros((rows, num_envs), dtype=np.float32)
        self.terminated, self.truncated, self.valid = (np.zeros((rows, num_envs), dtype=bool) for _ in range(3))
        self.head = self.size = 0  # where the newest observation is; complete rows behind it

    def begin(self, observations: np.ndarray) -> None:
        """The first observations, (num_envs, *shape) float32."""
        self.observations[self.head] = torch.from_numpy(observations)

    def append(self, actions, rewards, terminated, truncated, valid, next_observations) -> None:
        """What one step of all environments did, (num_envs,) each."""
        head = self.head
        self.actions[head], self.rewards[head], self.valid[head] = actions, rewards, valid
        self.terminated[head], self.truncated[head] = terminated, truncated
        self.head = (head + 1) % len(self.actions)
        self.size = min(self.size + 1, len(self.actions) - 1)
        self.begin(next_observations)

    def sample(self, count: int, steps: int, discount: float, random: np.random.Generator) -> Transitions:
        """`count` transitions over up to `steps` steps each, drawn uniformly with replacement from all that are complete."""
        times, envs = self._draw(count, steps, random)
        returns = np.zeros(count, dtype=np.float32)
        weights = np.ones(count, dtype=np.float32)
        ends = times.copy()
        going = np.ones(count, dtype=bool)
        for _ in range(steps):
            returns += np.where(going, weights * self.rewards[ends, envs], 0)
            weights = np.where(going, weights * discount, weights)
            terminated = self.terminated[ends, envs] & going
            over = terminated | (self.truncated[ends, envs] & going)
            weights[terminated] = 0
            ends = np.where(going, (ends + 1) % len(self.actions), ends)
            going &= ~over
        as_tensor = lambda array: torch.from_numpy(array).to(self.observations.device)
        at = lambda t: self.observations.view(-1, *self.observations.shape[2:])[
            as_tensor(t * self.actions.shape[1] + envs)
        ]
        return Transitions(
            at(times),
            as_tensor(self.actions[times, envs]),
            as_tensor(returns),
            at(ends),
            as_tensor(weights.astype(np.float32)),
        )

    def _draw(self, count: int, steps: int, random) -> tuple[np.ndarray, np.ndarray]:
        """Rows and environments of transitions with `steps` complete rows from their own on."""
        num_envs = self.actions.shape[1]
        times, envs = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        while len(times) < count:
            wanted = count - len(times) + 16
            age = random.integers(steps, self.size + 1, size=wanted)
            t = (self.head - age) % len(self.actions)
            i = random.integers(0, num_envs, size=wanted)
            valid = self.valid[t, i]
            times, envs = np.concatenate([times, t[valid]]), np.concatenate([envs, i[valid]])
        return times[:count], envs[:count]

    def __len__(self) -> int:
        """Complete rows times environments."""
        return self.size * self.actions.shape[1]

    def state(self) -> dict:
        """Tensors of the rows in use."""
        rows = (self.head - self.size + np.arange(self.size + 1)) % len(self.actions)
        kept = {
            name: torch.from_numpy(getattr(self, name)[rows])
            for name in ("actions", "rewards", "terminated", "truncated", "valid")
        }
        return {**kept, "observations": self.observations[torch.from_numpy(rows)].cpu()}

    def restore(self, state: dict) -> None:
        count = len(state["actions"])  # one more than complete rows
        for name in ("actions", "rewards", "terminated", "truncated", "valid"):
            getattr(self, name)[:count] = state[name].numpy()
        self.observations[:count] = state["observations"].to(self.observations.device)
        self.head = self.size = count - 1
