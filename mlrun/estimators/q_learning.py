"""Q-learning: off-policy control by temporal differences (Watkins 1989)."""

from __future__ import annotations

from mlrun.estimators.tabular import TabularControl


class QLearning(TabularControl):
    """Q(s, a) += alpha * (r + discount * max_b Q(s', b) - Q(s, a)), where the maximum is 0 after a terminal step.

    A time limit is not a terminal step: the last state of a truncated episode is bootstrapped from.
    """

    def learn_episode(self, epsilon: float) -> float:
        world, q, discount = self.world, self.q, self.discount
        state, earned, over = world.reset(), 0.0, False
        while not over:
            action = self.explore(state, epsilon)
            next_state, reward, terminated, truncated = world.step(state, action)
            self.move(state, action, reward if terminated else reward + discount * max(q[next_state]))
            earned += reward
            self.steps += 1
            state, over = next_state, terminated or truncated
        return earned
