"""Value iteration: the optimal table of an environment that publishes its transition probabilities (Bellman 1957)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlrun.data.environments.environment import Environment
from mlrun.errors import ConfigError


class ValueIteration:
    """Q(s, a) <- sum over s' of p(s' | s, a) * (r + discount * max_b Q(s', b)), the reference for methods that learn by acting.

    Args:
        num_states, num_actions: of the environment.
        discount: of a reward one step later.
        tolerance: largest change of an entry at which it stops.
        max_sweeps: it stops at the latest after so many.

    Raises:
        ValueError: `discount` lies outside of [0, 1].
    """

    def __init__(
        self,
        num_states: int,
        num_actions: int,
        discount: float = 0.99,
        tolerance: float = 1e-10,
        max_sweeps: int = 100_000,
    ):
        if not 0 <= discount <= 1:
            raise ValueError(f"discount={discount}: must be in [0, 1]")
        self.discount, self.tolerance, self.max_sweeps = discount, tolerance, max_sweeps
        self.table = np.zeros((num_states, num_actions))
        self.epochs, self.epoch, self.sweeps = 1, 0, 0

    def begin(self, data: Environment) -> None:
        """Reads the transitions. Raises ConfigError where the environment does not publish them."""
        if data.table is None:
            raise ConfigError(
                f"dataset={data.name}: {data.id} does not state its transition probabilities (env.unwrapped.P), which value "
                f"iteration needs; q_learning, sarsa and monte_carlo learn without them"
            )
        self.transitions = data.table

    def learn_epoch(self) -> dict[str, float]:
        """All sweeps. Returns their number and the last change."""
        t, change = self.transitions, float("inf")
        expected_reward = (t.probability * t.reward).sum(axis=2)
        onward = t.probability * ~t.terminated * self.discount
        while change > self.tolerance and self.sweeps < self.max_sweeps:
            following = expected_reward + (onward * self.table.max(axis=1)[t.next_state]).sum(axis=2)
            change = float(np.abs(following - self.table).max())
            self.table = following
            self.sweeps += 1
        self.epoch = 1
        return {"sweeps": self.sweeps, "change": change}

    def state(self) -> dict[str, Any]:
        """Everything that it resumes from, as plain containers."""
        return {"table": self.table.tolist(), "epoch": self.epoch, "sweeps": self.sweeps}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what `state` returned."""
        self.table, self.epoch, self.sweeps = np.asarray(state["table"]), state["epoch"], state["sweeps"]
