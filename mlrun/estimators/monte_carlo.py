"""First-visit Monte-Carlo control: learning from the returns of whole episodes."""

from __future__ import annotations

from mlrun.estimators.tabular import TabularControl


class MonteCarlo(TabularControl):
    """Moves Q(s, a) toward the return that followed the first visit of (s, a) in an episode.

    With step_size 1 and step_size_decay 1, Q is the mean of all such returns (Sutton and Barto 2018, section 5.4).
    In a truncated episode the current value of the last state stands for the rewards that would have followed.
    """

    def learn_episode(self, epsilon: float) -> float:
        world, q = self.world, self.q
        state, over = world.reset(), False
        episode: list[tuple[int, int, float]] = []
        while not over:
            action = self.explore(state, epsilon)
            next_state, reward, terminated, truncated = world.step(state, action)
            episode.append((state, action, reward))
            state, over = next_state, terminated or truncated
        self.steps += len(episode)
        following = 0.0 if terminated else max(q[state])
        first_visits: dict[tuple[int, int], float] = {}
        for state, action, reward in reversed(episode):
            following = reward + self.discount * following
            first_visits[state, action] = following  # going backwards, the first visit comes last
        for (state, action), value in first_visits.items():
            self.move(state, action, value)
        return sum(reward for _, _, reward in episode)
