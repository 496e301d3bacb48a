"""Every model YAML, found by glob: it learns, and what is saved predicts the same."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from mlrun.config.compose import CONF, compose
from mlrun.config.instantiate import build, plain
from mlrun.estimators.learner import matrix
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent

BODIES = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((CONF / "model").glob("*.yaml"))
}


def is_network(name):
    body = BODIES[name]
    bases = [base for base in body.get("defaults", ()) if isinstance(base, str) and base in BODIES]  # of a variant
    return "_target_" in body or any(is_network(base) for base in bases)


ESTIMATORS = [
    name for name, body in BODIES.items() if not is_network(name) and "controller" not in body and name != "prompting"
]  # without what needs a run of another model
DOCUMENTATION = ["dataset.packages=[filelock]"]
SMALL = {
    "rag": ["dataset.packages=[filelock,pooch]", "dataset.split={train: null, val: null, test: null}"],
    "one_hot": DOCUMENTATION,
    "tfidf_svd": [*DOCUMENTATION, "model.decomposer.n_components=4"],
}
TABULAR = ("classification", "regression")


class Nobody:
    """A tracked run that nobody reads."""

    def __getattr__(self, name):
        return lambda *arguments, **options: None


def prepared(*overrides):
    cfg = plain(compose(list(overrides)))
    data = build(cfg["dataset"], {"seed": cfg["seed"], "data_dir": None, "name": cfg["dataset"]["name"]})
    data.prepare()
    return cfg, data


def trained(directory, *overrides):
    cfg, data = prepared(*overrides)
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), directory, silent.Progress())
    return learner, data


def rows_of(learner, data, part):
    """(x, y) as scikit-learn takes them."""
    examples = data.examples(part)
    return matrix(learner.preprocessor, examples), examples[data.targets[0]]


def same(one, other):
    if np.asarray(one).dtype.kind == "f":
        np.testing.assert_array_equal(one, other)
    else:
        assert list(one) == list(other)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_saved_estimator_predicts_the_same(name, tmp_path):
    learner, data = trained(tmp_path, f"model={name}", *SMALL.get(name, ()))
    learner.save(tmp_path / "model")
    x = data.sample("test") if data.problem == "language_modeling" else data.examples("test")
    same(learner.predict(x).answers(), load_learner(tmp_path / "model").predict(x).answers())


def direct(name, estimator_of, x, y, seed):
    """The same method by a direct call of scikit-learn."""
    from sklearn import (
        cluster,
        decomposition,
        discriminant_analysis,
        dummy,
        ensemble,
        linear_model,
        multiclass,
        naive_bayes,
        neighbors,
        svm,
        tree,
    )
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    made = {
        "linear_regression": lambda: linear_model.LinearRegression(),
        "ridge": lambda: make_pipeline(StandardScaler(), linear_model.Ridge()),
        "lasso": lambda: make_pipeline(StandardScaler(), linear_model.Lasso()),
        "logistic_regression": lambda: make_pipeline(
            StandardScaler(), multiclass.OneVsRestClassifier(linear_model.LogisticRegression(max_iter=1000))
        ),
        "softmax_regression": lambda: make_pipeline(StandardScaler(), linear_model.LogisticRegression(max_iter=1000)),
        "sgd": lambda: make_pipeline(StandardScaler(), linear_model.SGDClassifier(loss="log_loss", random_state=seed)),
        "lda": lambda: discriminant_analysis.LinearDiscriminantAnalysis(),
        "qda": lambda: make_pipeline(StandardScaler(), discriminant_analysis.QuadraticDiscriminantAnalysis()),
        "perceptron": lambda: make_pipeline(StandardScaler(), linear_model.Perceptron(random_state=seed)),
        "decision_tree": lambda: tree.DecisionTreeClassifier(criterion="entropy", random_state=seed),
        "random_forest": lambda: ensemble.RandomForestClassifier(random_state=seed),
        "extra_trees": lambda: ensemble.ExtraTreesClassifier(random_state=seed),
        "gradient_boosting": lambda: ensemble.HistGradientBoostingClassifier(random_state=seed),
        "adaboost": lambda: ensemble.AdaBoostClassifier(n_estimators=100, random_state=seed),
        "baseline": lambda: dummy.DummyClassifier(),
        "naive_bayes": lambda: naive_bayes.GaussianNB(),
        "multinomial_nb": lambda: naive_bayes.MultinomialNB(),
        "knn": lambda: make_pipeline(StandardScaler(), neighbors.KNeighborsClassifier()),
        "svm": lambda: make_pipeline(StandardScaler(), svm.SVC(C=10.0)),
        "svr": lambda: make_pipeline(StandardScaler(), svm.SVR(kernel="linear", C=10.0, epsilon=10.0)),
        "kmeans": lambda: make_pipeline(StandardScaler(), cluster.KMeans(3, n_init=10, random_state=seed)),
        "pca": lambda: make_pipeline(decomposition.PCA(10, random_state=seed)),
    }
    return made[name]().fit(x, y)


DIRECT = [  # `test_unsupervised.py` has the other methods without a target
    name
    for name in ESTIMATORS
    if "sklearn." in str(BODIES[name]) and {"classifier", "regressor"} & set(BODIES[name]) or name in ("kmeans", "pca")
]


@pytest.mark.parametrize("name", DIRECT)
def test_metrics_equal_a_direct_call(name, tmp_path):
    from sklearn import metrics

    learner, data = trained(tmp_path, f"model={name}", "seed=3")
    (train_x, train_y), (test_x, test_y) = (rows_of(learner, data, part) for part in ("train", "test"))
    reference = direct(name, None, train_x, train_y, 3)
    measured = learner.evaluate(data, "test").metrics
    if name == "kmeans":
        scaled = reference[:-1].transform(test_x)
        expected = {
            "inertia": -reference.score(test_x),
            "silhouette": metrics.silhouette_score(scaled, reference.predict(test_x)),
            "ari": metrics.adjusted_rand_score(test_y, reference.predict(test_x)),
        }
    elif name == "pca":
        restored = reference.inverse_transform(reference.transform(test_x))
        expected = {
            "reconstruction_error": np.mean((test_x - restored) ** 2),
            "explained_variance": 1 - ((test_x - restored) ** 2).sum() / ((test_x - test_x.mean(0)) ** 2).sum(),
        }
    elif data.problem == "classification":
        predicted = reference.predict(test_x)
        expected = {
            "accuracy": metrics.accuracy_score(test_y, predicted),
            "f1_macro": metrics.f1_score(test_y, predicted, average="macro"),
        }
        if hasattr(reference, "predict_proba"):
            expected["log_loss"] = metrics.log_loss(test_y, reference.predict_proba(test_x))
    else:
        predicted = reference.predict(test_x)
        expected = {
            "rmse": metrics.root_mean_squared_error(test_y, predicted),
            "r2": metrics.r2_score(test_y, predicted),
        }
    for metric, value in expected.items():
        assert measured[metric] == pytest.approx(value, abs=1e-9, rel=1e-9), metric


FLOORS = {  # halfway between the worst of five seeds and the best of five on shuffled labels
    "decision_tree": 0.75, "knn": 0.7, "logistic_regression": 0.79, "multinomial_nb": 0.55, "naive_bayes": 0.77,
    "perceptron": 0.84, "random_forest": 0.7, "softmax_regression": 0.53, "svm": 0.54, "ridge": 0.18, "lasso": 0.18,
    "linear_regression": 0.18, "svr": 0.2,
}  # fmt: skip


@pytest.mark.parametrize("name", FLOORS)
def test_estimators_learn_and_not_from_shuffled_labels(name, tmp_path):
    learner, data = trained(tmp_path, f"model={name}")
    metric = "accuracy" if data.problem == "classification" else "r2"
    assert learner.evaluate(data, "test").metrics[metric] >= FLOORS[name]

    cfg, data = prepared(f"model={name}")
    shuffle_labels(data)
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.evaluate(data, "test").metrics[metric] < FLOORS[name]


def shuffle_labels(data):
    rows = data.rows("train")
    column = data.content.columns[data.targets[0]]
    column[rows] = np.random.default_rng(0).permutation(column[rows])


def test_both_forms_of_a_model_by_the_dataset(tmp_path):
    for name, dataset, metric in [
        ("random_forest", "diabetes", "rmse"),
        ("random_forest", "iris", "accuracy"),
        ("ridge", "iris", "accuracy"),
        ("knn", "diabetes", "rmse"),
    ]:
        learner, data = trained(tmp_path, f"model={name}", f"dataset={dataset}")
        assert metric in learner.evaluate(data, "test").metrics


def test_an_estimator_of_strings_answers_with_strings(tmp_path):
    rows = "\n".join(f"{i % 7},{'a' if i % 3 else 'b'},{'yes' if i % 7 > 3 else 'no'}" for i in range(90))
    (tmp_path / "table.csv").write_text(f"number,letter,answer\n{rows}\n", encoding="utf-8")
    for model in ("decision_tree", "mlp"):
        learner, data = trained(
            tmp_path, f"model={model}", "dataset=csv", f"dataset.path={tmp_path / 'table.csv'}", "optim.lr=0.01"
        )
        learner.save(tmp_path / model)
        answers = load_learner(tmp_path / model).predict(data.examples("test")).answers()
        assert set(answers) == {"yes", "no"}
        assert learner.evaluate(data, "test").metrics["accuracy"] >= 0.95
