"""First-visit Monte-Carlo control: learn from the returns of whole episodes."""

from __future__ import annotations

from mlrun.estimators.tabular import TabularControl


class MonteCarlo(TabularControl):
    """Moves Q(s, a) toward the return that followed the first visit of (s, a) in an episode.

    With step_size 1 and step_size_decay 1 it is the mean of all such returns (Sutton and Barto 2018, section 5.4).
    The return of a truncated episode goes on with the current value of its last state.
    """

    def learn_episode(self, epsilon):
        world, q = self.world, self.q
        state, over, episode = world.reset(), False, []
        while not over:
            action = self.explore(state, epsilon)
            next_state, reward, terminated, truncated = world.step(state, action)
            episode.append((state, action, reward))
            state, over = next_state, terminated or truncated
        self.steps += len(episode)
        following = 0.0 if terminated else max(q[state])
        first_visits = {}
        for state, action, reward in reversed(episode):
            following = reward + self.discount * following
            first_visits[state, action] = following  # going backwards, the first visit is written last
        for (state, action), value in first_visits.items():
            self.move(state, action, value)
        return sum(reward for _, _, reward in episode)
