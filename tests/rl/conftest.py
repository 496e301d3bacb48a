"""Small environments whose right answers are known, and data modules of them."""

from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mlrun.data.environments.environment import Environment
from mlrun.data.preprocess.preprocessor import make_preprocessor


class Corridor(gymnasium.Env):
    """Cells 0 to 4 in a row, begun in cell 0; action 1 goes right, 0 left; reward 1 and the end on entering cell 4."""

    def __init__(self, cells=5):
        self.observation_space, self.action_space = spaces.Discrete(cells), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = 0
        return self.cell, {}

    def step(self, action):
        self.cell = max(0, self.cell + (1 if action == 1 else -1))
        there = self.cell == self.observation_space.n - 1
        return self.cell, float(there), there, False, {}


class Endless(gymnasium.Env):
    """One state, reward 1 for action 1 and 0 for action 0, for ever: only a time limit cuts it."""

    def __init__(self):
        self.observation_space, self.action_space = spaces.Discrete(1), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, float(action == 1), False, False, {}


gymnasium.register("test/Corridor-v0", entry_point=Corridor, max_episode_steps=50)
gymnasium.register("test/Endless-v0", entry_point=Endless, max_episode_steps=10)


@pytest.fixture
def environment():
    """Makes a prepared data module of an environment."""

    def make(id, **options):
        data = Environment(id, "control", "test", **{"seed": 1, **options})
        data.prepare()
        return data

    return make


@pytest.fixture
def preprocessor():
    """Makes the preprocessor that feeds a network with the observations of a data module."""
    return partial(make_preprocessor, None)


@pytest.fixture
def success_probability():
    """Exact probability of reaching FrozenLake's goal within 100 steps, from the environment's own table, by a policy (states,)."""

    def exact(data, actions, limit=100):
        transitions = data.make().unwrapped.P
        chance = np.zeros(len(transitions))  # of success with no step left
        for _ in range(limit):
            chance = np.array(
                [
                    sum(p * (reward if done else chance[to]) for p, to, reward, done in transitions[s][int(actions[s])])
                    for s in transitions
                ]
            )
        return float(chance[0])

    return exact
