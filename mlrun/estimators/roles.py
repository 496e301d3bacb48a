"""What an estimator is for: what it is fitted to, what is measured and what is drawn. Made from the dataset's labels and problem."""

from __future__ import annotations

import numpy as np

from mlrun.errors import ConfigError
from mlrun.evaluation import metrics as measures
from mlrun.evaluation.outcome import Outcome

# limits of permutation importance, which predicts anew for every feature and repeat
PERMUTED_FEATURES, PERMUTED_ROWS = 50, 300


class Classifier:
    """Fitted to the original labels, so that it also answers with them."""

    monitor, mode = "val/accuracy", "max"

    def __init__(self, labels, problem):
        self.labels = np.asarray(labels)

    def target(self, y):
        return self.labels[y]

    def predict(self, pipeline, x):
        return pipeline.predict(x)

    def measure(self, pipeline, x, y):
        self.outcome = self._outcome(pipeline, x, y)
        return self.outcome.metrics()

    def _outcome(self, pipeline, x, y):
        answers, probabilities = self.answers(pipeline, x)
        predicted = np.array([self._index(label) for label in answers], dtype=np.int64)
        return Outcome("classification", y, predicted, probabilities, len(self.labels))

    def answers(self, pipeline, x):
        """(labels, probabilities of all classes or None); a class may be absent from the training rows."""
        if not hasattr(pipeline, "predict_proba"):
            return pipeline.predict(x), None
        probabilities = np.zeros((len(x), len(self.labels)))
        probabilities[:, [self._index(label) for label in pipeline.classes_]] = pipeline.predict_proba(x)
        return pipeline.predict(x), probabilities

    def _index(self, label) -> int:
        return int(np.flatnonzero(self.labels == label)[0])

    def parameters(self, estimator):
        return _coefficient_count(estimator)

    def figures(self, pipeline, data, part):
        from mlrun.report.supervised import supervised_figures

        yield from supervised_figures(data, self.outcome, part)
        yield from _explanations(pipeline, data, lambda y, predicted: float((predicted == self.labels[y]).mean()))


class Regressor:
    monitor, mode = "val/rmse", "min"

    def __init__(self, labels, problem):
        pass

    def target(self, y):
        return y

    def predict(self, pipeline, x):
        return pipeline.predict(x)

    def answers(self, pipeline, x):
        return self.predict(pipeline, x), None

    def measure(self, pipeline, x, y):
        self.outcome = Outcome("regression", y, np.asarray(pipeline.predict(x), dtype=np.float64).reshape(-1))
        return self.outcome.metrics()

    def parameters(self, estimator):
        return _coefficient_count(estimator)

    def figures(self, pipeline, data, part):
        from mlrun.report.supervised import supervised_figures

        yield from supervised_figures(data, self.outcome, part)
        yield from _explanations(pipeline, data, lambda y, predicted: measures.regression(y, predicted)["r2"])


class Clusterer:
    """Sees no labels; where the data have classes, the clusters are compared with them."""

    monitor, mode = "val/silhouette", "max"

    def __init__(self, labels, problem):
        self.has_classes = problem == "classification"

    def target(self, y):
        return None

    def predict(self, pipeline, x):
        return pipeline.predict(x)

    def answers(self, pipeline, x):
        return self.predict(pipeline, x), None

    def measure(self, pipeline, x, y):
        seen = pipeline[:-1].transform(x) if len(pipeline) > 1 else x
        return measures.clustering(
            seen, pipeline.predict(x), y if self.has_classes else None, inertia=-pipeline.score(x)
        )

    def parameters(self, estimator):
        return int(np.size(getattr(estimator, "cluster_centers_", ()))) or None

    def figures(self, pipeline, data, part):
        from mlrun.report import figures

        arrays = data.arrays(part)
        seen = pipeline[:-1].transform(arrays.x) if len(pipeline) > 1 else arrays.x
        yield (
            "clusters",
            figures.clusters_2d(
                np.asarray(seen),
                pipeline.predict(arrays.x),
                centers=getattr(pipeline[-1], "cluster_centers_", None),
                y_true=arrays.y if self.has_classes else None,
                class_names=data.spec.class_names or None,
            ),
        )
        image_shape = getattr(data, "file_shape", None)
        if image_shape and hasattr(pipeline[-1], "cluster_centers_"):
            yield (
                "cluster_centers",
                figures.component_images(pipeline[-1].cluster_centers_, image_shape, title="Cluster centers"),
            )


class Decomposer:
    """Fewer numbers for the same rows: measured by what can be restored from them."""

    monitor, mode = "val/reconstruction_error", "min"

    def __init__(self, labels, problem):
        pass

    def target(self, y):
        return None

    def predict(self, pipeline, x):
        return pipeline.transform(x)

    def answers(self, pipeline, x):
        return self.predict(pipeline, x), None

    def measure(self, pipeline, x, y):
        seen = pipeline[:-1].transform(x) if len(pipeline) > 1 else x
        restored = pipeline[-1].inverse_transform(pipeline[-1].transform(seen))
        return measures.decomposition(seen, restored, getattr(pipeline[-1], "explained_variance_ratio_", None))

    def parameters(self, estimator):
        return int(np.size(getattr(estimator, "components_", ()))) or None

    def figures(self, pipeline, data, part):
        from mlrun.report import figures

        decomposition = pipeline[-1]
        shares = getattr(decomposition, "explained_variance_ratio_", None)
        if shares is not None:
            yield "explained_variance", figures.pca_variance(shares)
        image_shape = getattr(data, "file_shape", None)
        if image_shape and hasattr(decomposition, "components_"):
            yield (
                "components",
                figures.component_images(decomposition.components_, image_shape, explained_variance_ratio=shares),
            )


class LanguageModel:
    """Learns from the tokens of a text; y is how many characters they stand for."""

    monitor, mode = "val/perplexity", "min"

    def __init__(self, labels, problem):
        pass

    def target(self, y):
        return None

    def predict(self, pipeline, x):
        """Texts that go on after each prompt."""
        tokenizer, model = pipeline[0].tokenizer, pipeline[-1]
        return np.array(
            [tokenizer.decode(model.continuation(prompt)) for prompt in pipeline[0].transform(x)], dtype=object
        )

    def measure(self, pipeline, x, y):
        loss = -float(pipeline[-1].log_probabilities(x).mean())
        return measures.language_modeling(loss, len(x) / max(1, y))

    def parameters(self, estimator):
        return estimator.parameters

    def figures(self, pipeline, data, part):
        return iter(())


ROLES = {
    "classifier": Classifier, "regressor": Regressor, "clusterer": Clusterer, "decomposer": Decomposer, "language_model": LanguageModel
}  # fmt: skip


def role_for(model: dict, spec) -> str:
    """The key of the estimator that `model` offers for this problem. Raises ConfigError naming both where there is none."""
    wanted = {"classification": "classifier", "regression": "regressor", "language_modeling": "language_model"}.get(
        spec.problem
    )
    for name in (wanted, "clusterer", "decomposer"):
        if name in model:
            return name
    offered = [name for name in ROLES if name in model]
    raise ConfigError(
        f"model {model.get('name', '')} has {' and '.join(offered) or 'no estimator'}, but the dataset's problem is {spec.problem}. "
        f"Choose another model, or set dataset.problem."
    )


def _coefficient_count(estimator) -> int | None:
    if hasattr(estimator, "coef_") and hasattr(estimator, "intercept_"):
        return int(np.size(estimator.coef_) + np.size(estimator.intercept_))
    return None


def _explanations(pipeline, data, score):
    """What the estimator itself says of its features; where it says nothing, permutation importance if that is cheap."""
    from mlrun.report import figures

    estimator, spec = pipeline[-1], data.spec
    image_shape = getattr(data, "file_shape", None)
    names = _feature_names(pipeline, spec)
    coefficients = getattr(estimator, "coef_", None)
    if hasattr(estimator, "tree_"):
        yield "tree", figures.tree_drawing(estimator, names, spec.class_names or None)
    if hasattr(estimator, "feature_importances_"):
        trees = getattr(estimator, "estimators_", None)
        std = np.std([tree.feature_importances_ for tree in np.ravel(trees)], axis=0) if trees is not None else None
        yield "feature_importance", figures.feature_importance(estimator.feature_importances_, names, std, image_shape)
    elif isinstance(coefficients, np.ndarray) and coefficients.ndim <= 2 and coefficients.shape[0] != 0:
        classes = spec.class_names if len(np.atleast_2d(coefficients)) in (1, len(spec.class_names)) else None
        yield "coefficients", figures.coefficients(coefficients, names, classes or None, image_shape)
    else:
        arrays = data.arrays("val" if data.sizes["val"] else "test")
        if arrays.x.ndim == 2 and arrays.x.shape[1] <= PERMUTED_FEATURES:  # texts have no columns
            mean, std = figures.permutation_importance(
                pipeline.predict, arrays.x, arrays.y, score, max_rows=PERMUTED_ROWS
            )
            yield (
                "permutation_importance",
                figures.feature_importance(mean, spec.feature_names or None, std, image_shape),
            )


def _feature_names(pipeline, spec):
    """Names of the features as the last step sees them."""
    if len(pipeline) > 1:
        try:
            return [
                str(name).split("__")[-1] for name in pipeline[:-1].get_feature_names_out(spec.feature_names or None)
            ]
        except (AttributeError, ValueError):
            return None
    return spec.feature_names or None
