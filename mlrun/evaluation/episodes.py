"""Evaluator of episodes: the returns of the greedy policy in an environment."""

from __future__ import annotations

from mlrun.data.environments.environment import Environment, Played
from mlrun.data.features import Feature
from mlrun.evaluation.evaluator import Better, Evaluator


class Episodes(Evaluator):
    """Plays the episodes of a part of an `Environment`, always the same ones, with the actions that the model predicts.

    return: mean of the undiscounted returns. return_std: their standard deviation. episode_length: mean number of steps, of
    which fewer are better in a maze and more in CartPole.
    """

    metrics = {"return": Better.LARGER, "return_std": Better.SMALLER, "episode_length": Better.NEITHER}
    needs_predictions = False
    played: Played  # episodes of the last `compute`

    def suits(self, target: Feature | None) -> bool:
        return target is None

    def compute(self) -> dict[str, float]:
        data: Environment = self.subject.data
        played = self.played = data.episodes(self.subject.part).play(data.policy(self.subject.model.predict))
        return {
            "return": float(played.returns.mean()),
            "return_std": float(played.returns.std()),
            "episode_length": float(played.lengths.mean()),
        }
