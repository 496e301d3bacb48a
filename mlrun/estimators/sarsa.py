"""SARSA: on-policy control by temporal differences (Rummery and Niranjan 1994)."""

from __future__ import annotations

from mlrun.estimators.tabular import TabularControl


class Sarsa(TabularControl):
    """Q(s, a) += alpha * (r + discount * Q(s', a') - Q(s, a)), where a' is the action taken next, and Q(s', a') is 0 after a terminal step."""

    def learn_episode(self, epsilon: float) -> float:
        world, q, discount = self.world, self.q, self.discount
        state, earned, over = world.reset(), 0.0, False
        action = self.explore(state, epsilon)
        while not over:
            next_state, reward, terminated, truncated = world.step(state, action)
            next_action = self.explore(next_state, epsilon)
            self.move(state, action, reward if terminated else reward + discount * q[next_state][next_action])
            earned += reward
            self.steps += 1
            state, action, over = next_state, next_action, terminated or truncated
        return earned
