"""Evaluator of one-shot classification: the class of a row from a single example of each class."""

from __future__ import annotations

import numpy as np

from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.evaluation.metrics import found_within
from mlrun.evaluation.vectors import VectorEvaluator

SEED = 4  # of the trials


class OneShot(VectorEvaluator):
    """Of a `Similarity` task: `one_shot_accuracy` of n-way one-shot classification (Lake, Salakhutdinov and Tenenbaum 2015).

    A trial draws `ways` classes, one row of each as its example, and another row of the first class: the answer is the class of the nearest
    example; of several that are equally near, one at random. A part with fewer classes has trials among all of them.

    Args:
        ways: classes of a trial.
        trials: their number.
    """

    metrics = {"one_shot_accuracy": Better.LARGER}
    every_epoch = False

    def __init__(self, ways: int = 20, trials: int = 2000):
        if ways < 2 or trials < 1:
            raise ConfigError(f"one_shot: ways={ways}, trials={trials}; at least 2 ways and 1 trial")
        self.ways, self.trials = ways, trials

    def compute(self) -> dict[str, float]:
        vectors, labels = self.vectors, self.labels
        trials = draw_trials(labels, self.ways, self.trials)
        if trials is None:
            return {"one_shot_accuracy": float("nan")}
        queries, examples = trials
        count, ways = examples.shape
        distances = self.subject.model.task.distances(vectors, np.repeat(queries, ways), examples.ravel())
        table = distances.reshape(count, ways)
        nearer, farther = table[:, 1:] < table[:, :1], table[:, 1:] > table[:, :1]
        return {"one_shot_accuracy": float(found_within(nearer.sum(1), (~nearer & ~farther).sum(1), 1, 1).mean())}


def draw_trials(labels: np.ndarray, ways: int, trials: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(queries (trials,), examples (trials, ways)): row numbers; the first example is of the query's class. None if no class has two rows."""
    random = np.random.default_rng(SEED)
    classes, counts = np.unique(labels, return_counts=True)
    rows = {one: np.flatnonzero(labels == one) for one in classes}
    several, ways = classes[counts > 1], min(ways, len(classes))
    if not len(several) or ways < 2:
        return None
    queries, examples = np.zeros(trials, dtype=np.int64), np.zeros((trials, ways), dtype=np.int64)
    for trial in range(trials):
        own = random.choice(several)
        queries[trial], examples[trial, 0] = random.choice(rows[own], 2, replace=False)
        others = random.choice(classes[classes != own], ways - 1, replace=False)
        examples[trial, 1:] = [random.choice(rows[one]) for one in others]
    return queries, examples
