"""Feature importance of an estimator: its tree, its importances or coefficients, or else permutation importance if that is cheap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Label, Row, Value, Vector
from mlrun.data.module import DataModule
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation

# limits of permutation importance, which predicts again for each feature and repeat
PERMUTED_FEATURES, PERMUTED_ROWS = 50, 300


class Importance(View):
    """Of an `EstimatorLearner` that predicts a label or a value."""

    parts = {"tree": "train", "feature_importance": "train", "coefficients": "train"}

    def draw(self, learner: Any, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        if getattr(learner, "estimator", None) is None or learner.recipe["role"] not in ("classifier", "regressor"):
            return
        from mlrun.report import figures

        estimator, names, image_shape = learner.estimator, learner.feature_names, learner.image_shape
        class_names = data.target.names if isinstance(data.target, Label) else None
        coefficients = getattr(estimator, "coef_", None)
        if hasattr(estimator, "tree_"):
            yield "tree", figures.tree_drawing(estimator, names, class_names)
        if hasattr(estimator, "feature_importances_"):
            trees = getattr(estimator, "estimators_", None)
            std = np.std([tree.feature_importances_ for tree in np.ravel(trees)], axis=0) if trees is not None else None
            yield (
                "feature_importance",
                figures.feature_importance(estimator.feature_importances_, names, std, image_shape),
            )
        elif isinstance(coefficients, np.ndarray) and coefficients.ndim <= 2 and coefficients.shape[0] != 0:
            classes = class_names if class_names and len(np.atleast_2d(coefficients)) in (1, len(class_names)) else None
            yield "coefficients", figures.coefficients(coefficients, names, classes, image_shape)
        else:
            yield from self._permutation(learner, data)

    def _permutation(self, learner: Any, data: DataModule) -> Iterator[tuple[str, Any]]:
        from mlrun.evaluation.metrics import regression
        from mlrun.report import figures

        features = [data.features[name] for name in data.inputs]
        if len(features) != 1 or not hasattr(features[0], "names") and not learner.image_shape:
            return  # texts have no columns
        if not isinstance(data.target, (Label, Value)):
            return
        part = "val" if data.sizes["val"] else "test"
        self.parts = {**self.parts, "permutation_importance": part}
        examples = data.examples(part)
        (column,) = (examples[name] for name in data.inputs)
        rows = column if hasattr(column, "iloc") else np.asarray(column).reshape(len(column), -1)
        if rows.shape[1] > PERMUTED_FEATURES:
            return
        truth = examples[data.targets[0]]

        def predict(x: Any) -> Any:
            from mlrun.data.inputs import as_examples

            return learner.predict(as_examples(x, learner.inputs)).answers()

        def score(y: np.ndarray, predicted: np.ndarray) -> float:
            if isinstance(data.target, Value):
                return regression(y, predicted)["r2"]
            assert isinstance(data.target, Label)
            return float((predicted == np.asarray(data.target.classes)[y]).mean())

        mean, std = figures.permutation_importance(predict, rows, truth, score, max_rows=PERMUTED_ROWS)
        names = list(features[0].names) if isinstance(features[0], (Vector, Row)) else None
        metric = "R²" if isinstance(data.target, Value) else "accuracy"
        label = f"decrease in {metric} when the feature is shuffled"
        yield "permutation_importance", figures.feature_importance(mean, names, std, learner.image_shape, label)
