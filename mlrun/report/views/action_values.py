"""Action values over a state space that can be drawn: a grid, a table of states, or two dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.environments.environment import Environment
from mlrun.data.module import DataModule
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

STATES = 1000  # a table of more would be unreadable


class ActionValues(View):
    """Of models whose action scores are values (Q), such as a table or a DQN."""

    part = ""  # values of states, not of episodes

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.control import grid_layout, grid_policy, q_table, state_grid, value_map

        if not isinstance(data, Environment):
            return
        states = data.observation.num_states
        if states is not None:
            values = _values(learner, data, np.arange(states))
            layout = grid_layout(data)
            if layout is not None:
                yield "policy", grid_policy(values, *layout)
            elif states <= STATES:
                yield "q_table", q_table(values)
        elif data.observation.shape == [2]:
            environment = data.make()
            space: Any = environment.observation_space
            low, high = space.low, space.high
            environment.close()
            if np.isfinite(low).all() and np.isfinite(high).all():
                yield "values", value_map(_values(learner, data, state_grid(low, high)), low, high)


def _values(learner: Learner, data: Environment, observations: np.ndarray) -> np.ndarray:
    """(observations, actions)."""
    predictions: Any = learner.predict(data.as_examples(observations))
    return predictions.scores
