"""Returns of the episodes of a policy, and one episode as a film."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.environments.environment import Environment
from mlrun.data.module import DataModule
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner


class Episodes(View):
    """Of models evaluated by `episodes`."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.evaluation import episodes
        from mlrun.report.control import record, return_histogram

        if not isinstance(data, Environment):
            return
        for one in evaluation.evaluators.values():
            if isinstance(one, episodes.Episodes):
                yield "test_returns", return_histogram(one.played.returns)
        film = record(data, data.policy(learner.predict))
        if film is not None:
            yield "episode", film
