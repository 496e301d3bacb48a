"""Experience replay: transitions kept for repeated sampling (Lin 1992)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

COLUMNS = ("actions", "rewards", "terminated", "truncated", "valid")  # besides the observations


class Transitions(NamedTuple):
    """n steps that begin with `actions` after `observations`, all (rows, ...).

    returns: sum of discount^k * reward over these steps; weights: the factor of the value of `next_observations`,
    discount^steps, 0 where the episode terminated (after a truncated one there is still value to come).
    """

    observations: torch.Tensor
    actions: torch.Tensor
    returns: torch.Tensor
    next_observations: torch.Tensor
    weights: torch.Tensor


class Replay:
    """A ring buffer of the latest steps of several environments.

    Row t holds the observation before step t, and the action, reward and end of that step; the observation after it is that
    of row t + 1. A row whose step only began a new episode is not a transition and is never drawn.

    Args:
        capacity: transitions of all environments together.
        num_envs: environments.
        observation_shape: of one observation as the network is fed.
        device: where the observations lie.

    Raises:
        ValueError: the capacity is less than one transition per environment.
    """

    def __init__(
        self, capacity: int, num_envs: int, observation_shape: Sequence[int], device: torch.device | str = "cpu"
    ):
        rows = capacity // num_envs + 1  # the newest row has an observation only
        if rows < 2:
            raise ValueError(f"replay of {capacity} transitions: too small for {num_envs} environments")
        self.observations = torch.zeros(rows, num_envs, *observation_shape, device=device)
        self.actions = np.zeros((rows, num_envs), dtype=np.int64)
        self.rewards = np.zeros((rows, num_envs), dtype=np.float32)
        self.terminated, self.truncated, self.valid = (np.zeros((rows, num_envs), dtype=bool) for _ in range(3))
        self.head = self.size = 0  # row of the newest observation; complete rows before it

    def begin(self, observations: np.ndarray) -> None:
        """The first observations, (num_envs, *shape) float32."""
        self.observations[self.head] = torch.from_numpy(observations)

    def append(
        self,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        valid: np.ndarray,
        next_observations: np.ndarray,
    ) -> None:
        """Adds one step of all environments, (num_envs,) each. valid: False where the step only began an episode."""
        head = self.head
        self.actions[head], self.rewards[head], self.valid[head] = actions, rewards, valid
        self.terminated[head], self.truncated[head] = terminated, truncated
        self.head = (head + 1) % len(self.actions)
        self.size = min(self.size + 1, len(self.actions) - 1)
        self.begin(next_observations)

    def cut(self, observations: np.ndarray) -> None:
        """All environments have left their episodes and begun new ones with these observations, (num_envs, *shape) float32."""
        last = (self.head - 1) % len(self.valid)
        self.truncated[last] |= ~self.terminated[last]
        none = np.zeros(len(observations), dtype=bool)
        self.append(np.zeros(len(observations)), np.zeros(len(observations)), none, none, none, observations)

    def holds(self, steps: int) -> bool:
        """Whether there is a transition of `steps` complete steps to draw: all environments may just have begun an episode."""
        return bool(self.valid[(self.head - np.arange(steps, self.size + 1)) % len(self.valid)].any())

    def sample(self, count: int, steps: int, discount: float, random: np.random.Generator) -> Transitions:
        """Draws `count` transitions of up to `steps` steps each, uniformly and with replacement from all that are complete."""
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
        return Transitions(
            self._observed(times, envs),
            self._on_device(self.actions[times, envs]),
            self._on_device(returns),
            self._observed(ends, envs),
            self._on_device(weights.astype(np.float32)),
        )

    def _on_device(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.observations.device)

    def _observed(self, times: np.ndarray, envs: np.ndarray) -> torch.Tensor:
        """Observations at these rows of these environments."""
        flat = self.observations.view(-1, *self.observations.shape[2:])
        return flat[self._on_device(times * self.actions.shape[1] + envs)]

    def _draw(self, count: int, steps: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows and environments of transitions that have `steps` complete rows, their own included."""
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

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors of the rows in use."""
        rows = (self.head - self.size + np.arange(self.size + 1)) % len(self.actions)
        kept = {name: torch.from_numpy(getattr(self, name)[rows]) for name in COLUMNS}
        return {**kept, "observations": self.observations[torch.from_numpy(rows)].cpu()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` returned."""
        count = len(state["actions"])  # one more than complete rows
        for name in COLUMNS:
            getattr(self, name)[:count] = state[name].numpy()
        self.observations[:count] = state["observations"].to(self.observations.device)
        self.head = self.size = count - 1
