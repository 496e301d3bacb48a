"""Components of a decomposition, and the variance that they explain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlrun.data.module import DataModule
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation


class Components(View):
    """Of an `EstimatorLearner` whose estimator has `components_`."""

    part = "train"

    def draw(self, learner: Any, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        if learner.recipe.get("role") != "decomposer":
            return
        from mlrun.report import figures

        shares = getattr(learner.estimator, "explained_variance_ratio_", None)
        if shares is not None:
            yield "explained_variance", figures.pca_variance(shares)
        components = getattr(learner.estimator, "components_", None)
        if learner.image_shape and components is not None:
            yield (
                "components",
                figures.component_images(components, learner.image_shape, explained_variance_ratio=shares),
            )
