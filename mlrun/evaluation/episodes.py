"""Episodes: what the greedy policy earns in an environment."""

from __future__ import annotations

from mlrun.data.environments.environment import Environment, Played
from mlrun.data.features import Feature
from mlrun.evaluation.evaluator import Better, Evaluator


class Episodes(Evaluator):
    """Plays the episodes of a part of an `Environment`, the same ones each time, by the actions that the model predicts.

    return: mean of the undiscounted returns. return_std: their standard deviation. episode_length: mean number of steps; it
    counts as better the shorter it is, although in environments that end by failure a long episode is a good one.
    """

    metrics = {"return": Better.LARGER, "return_std": Better.SMALLER, "episode_length": Better.SMALLER}
    needs_predictions = False
    played: Played  # what `compute` measured last

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
