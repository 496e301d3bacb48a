"""Decision regions of a classifier of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Label, Row, Vector
from mlrun.data.module import DataModule
from mlrun.data.predictions import LabelPredictions
from mlrun.report.style import PALETTE
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation

FEATURES = 200  # of more, two components say little


class Boundary(View):
    """Of `LabelPredictions` of one input with at least two numbers: a table, not images or texts."""

    def draw(self, learner: Any, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        target = data.target
        if not isinstance(evaluation.predictions, LabelPredictions) or not isinstance(target, Label):
            return
        inputs = [data.features[name] for name in data.inputs]
        if len(inputs) != 1 or not isinstance(inputs[0], (Vector, Row)) or len(target.classes) > len(PALETTE):
            return
        rows, predict = _estimator(learner, evaluation) if hasattr(learner, "role") else _network(learner, evaluation)
        if rows.ndim != 2 or not 2 <= rows.shape[1] <= FEATURES:
            return
        from mlrun.report.boundary import decision_regions

        names = inputs[0].names if isinstance(inputs[0], Vector) else None
        truth = evaluation.examples[data.targets[0]]
        yield "decision_regions", decision_regions(predict, rows, truth, target.names, names)


Predict = Callable[[np.ndarray], np.ndarray]


def _estimator(learner: Any, evaluation: Evaluation) -> tuple[np.ndarray, Predict]:
    rows = np.asarray(learner.rows(evaluation.examples))
    return rows, lambda x: learner.role.predict(learner.steps, x).indices


def _network(learner: Any, evaluation: Evaluation) -> tuple[np.ndarray, Predict]:
    """Rows as the network sees them, and its classes of such rows."""
    import torch

    from mlrun.data.batches import Batch

    encoded = learner.preprocessor.encode(evaluation.examples.only(list(learner.preprocessor.inputs)))
    key, rows = next(iter(encoded.items()))
    device = next(learner.task.parameters()).device

    @torch.inference_mode()
    def predict(x: np.ndarray) -> np.ndarray:
        batch = Batch({key: torch.as_tensor(x, dtype=torch.float32, device=device)})
        return learner.task.eval().predict(batch)["probabilities"].argmax(1).cpu().numpy()

    return np.asarray(rows), predict
