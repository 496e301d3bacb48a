"""Control with one number per state and action, learned by acting: what the tabular methods share."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from mlrun.data.environments.environment import Environment, TransitionTable


class TabularControl:
    """A table Q(state, action), and a loop over epochs of acting and learning. A subclass writes `learn_episode`.

    Args:
        num_states, num_actions: of the environment.
        seed: of exploration and, where the environment publishes its transition probabilities, of its chance.
        epsilon: share of the training that is over -> probability of a random action.
        discount: of a reward one step later.
        epochs, steps_per_epoch: the budget; an epoch ends with the first episode that reaches its number of steps.
        step_size, step_size_decay: alpha = step_size / n ** step_size_decay at the n-th update of a state and action;
            a decay in (0.5, 1] converges in stochastic environments (Even-Dar and Mansour 2003), 0 suits deterministic ones.
        initial_value: of every entry.

    Raises:
        ValueError: `discount` lies outside of [0, 1].
    """

    world: SimulatedTable | Acted  # set by `begin`

    def __init__(
        self,
        num_states: int,
        num_actions: int,
        seed: int,
        epsilon: Callable[[float], float],
        discount: float = 0.99,
        epochs: int = 20,
        steps_per_epoch: int = 50_000,
        step_size: float = 1.0,
        step_size_decay: float = 0.6,
        initial_value: float = 0.0,
    ):
        if not 0 <= discount <= 1:
            raise ValueError(f"discount={discount}: must be in [0, 1]")
        self.num_states, self.num_actions = num_states, num_actions
        self.epsilon, self.discount = epsilon, discount
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.step_size, self.step_size_decay = step_size, step_size_decay
        # lists: reading one number of a NumPy array takes longer than a whole update
        self.q = [[float(initial_value)] * num_actions for _ in range(num_states)]
        self.updates = [[0] * num_actions for _ in range(num_states)]
        self.random = random.Random(seed)
        self.steps, self.epoch = 0, 0

    def begin(self, data: Environment) -> None:
        """Prepares acting; called before the first epoch and before `restore`."""
        self.world = SimulatedTable(data.table, data.limit, self.random) if data.table is not None else Acted(data)

    def learn_epoch(self) -> dict[str, float]:
        """One epoch of acting and learning. Returns the mean return and length of its episodes, the last epsilon, and all steps so far."""
        self.epoch += 1
        begin, end = self.steps, self.epoch * self.steps_per_epoch
        returns = []
        while self.steps < end:
            epsilon = self.epsilon(self.steps / (self.epochs * self.steps_per_epoch))
            returns.append(self.learn_episode(epsilon))
        episodes = max(len(returns), 1)
        return {
            "return": sum(returns) / episodes,
            "episode_length": (self.steps - begin) / episodes,
            "epsilon": epsilon if returns else 0.0,
            "steps": float(self.steps),
        }

    def learn_episode(self, epsilon: float) -> float:
        """Acts for one episode and learns from it. Returns its undiscounted return."""
        raise NotImplementedError

    def explore(self, state: int, epsilon: float) -> int:
        """An epsilon-greedy action."""
        if self.random.random() < epsilon:
            return int(self.random.random() * self.num_actions)
        row = self.q[state]
        return row.index(max(row))

    def move(self, state: int, action: int, target: float) -> None:
        """Q(s, a) += alpha * (target - Q(s, a))."""
        self.updates[state][action] = n = self.updates[state][action] + 1
        row = self.q[state]
        row[action] += self.step_size * n**-self.step_size_decay * (target - row[action])

    @property
    def table(self) -> np.ndarray:
        """Q, (states, actions) float64."""
        return np.asarray(self.q)

    def state(self) -> dict[str, Any]:
        """Everything that learning resumes from, as plain containers."""
        version, words, gauss = self.random.getstate()
        return {
            "q": self.q, "updates": self.updates, "steps": self.steps, "epoch": self.epoch,
            "random": [version, list(words), gauss], "world": self.world.state(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what `state` returned."""
        self.q, self.updates = [list(row) for row in state["q"]], [list(row) for row in state["updates"]]
        self.steps, self.epoch = state["steps"], state["epoch"]
        version, words, gauss = state["random"]
        self.random.setstate((version, tuple(words), gauss))
        self.world.restore(state["world"])


class SimulatedTable:
    """Acts by drawing from the environment's own transition table: the same process as the environment, ten times as fast.

    Args:
        table: the transitions. limit: steps after which an episode is truncated. generator: of the environment's chance.
    """

    def __init__(self, table: TransitionTable, limit: int | None, generator: random.Random):
        self.draw, self.limit = generator.random, limit or float("inf")
        self.starts = list(accumulate(table.start.tolist()))
        states, actions, _ = table.probability.shape
        self.outcomes = [[_outcomes(table, s, a) for a in range(actions)] for s in range(states)]

    def reset(self) -> int:
        """Begins an episode. Returns its first state."""
        self.length = 0
        return min(bisect_right(self.starts, self.draw() * self.starts[-1]), len(self.starts) - 1)

    def step(self, state: int, action: int) -> tuple[int, float, bool, bool]:
        """Returns next state, reward, terminated, truncated."""
        self.length += 1
        cumulative, results = self.outcomes[state][action]
        next_state, reward, terminated = (
            results[0] if len(results) == 1 else results[bisect_right(cumulative, self.draw() * cumulative[-1])]
        )
        return next_state, reward, terminated, self.length >= self.limit and not terminated

    def state(self) -> dict[str, Any]:
        """Empty: between episodes there is only the state of the generator."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what `state` returned."""


def _outcomes(table: TransitionTable, state: int, action: int) -> tuple[list[float], list[tuple[int, float, bool]]]:
    """Cumulative probabilities of the possible outcomes, and the outcomes."""
    probabilities = table.probability[state, action]
    possible = np.flatnonzero(probabilities > 0)
    results = zip(
        *(values[state, action, possible].tolist() for values in (table.next_state, table.reward, table.terminated))
    )
    return list(accumulate(probabilities[possible].tolist())), list(results)


class Acted:
    """Acts in the environment itself, where its transition probabilities are not known."""

    def __init__(self, data: Environment):
        self.environment = data.make()
        self.seed: int | None = data.seeds("train", 1)[0]

    def reset(self) -> int:
        """Begins an episode. Returns its first state."""
        observation, _ = self.environment.reset(seed=self.seed)
        self.seed = None  # only the first episode is seeded
        return int(observation)

    def step(self, state: int, action: int) -> tuple[int, float, bool, bool]:
        """Returns next state, reward, terminated, truncated."""
        observation, reward, terminated, truncated, _ = self.environment.step(action)
        return int(observation), float(reward), terminated, truncated

    def state(self) -> dict[str, Any]:
        """The state of the environment's generator."""
        generator = self.environment.unwrapped.np_random.bit_generator
        return {"generator": generator.state, "seed": self.seed}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what `state` returned."""
        self.seed = state["seed"]
        self.environment.unwrapped.np_random.bit_generator.state = state["generator"]
