"""Every measure against scikit-learn on random inputs, with ties, absent classes and degenerate data."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.metrics as reference

from mlrun.evaluation import metrics as measures

EXACT = 1e-12


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_classification_equals_sklearn(num_classes, seed):
    random = np.random.default_rng(seed)
    rows = int(random.integers(5, 300))
    present = random.choice(num_classes, size=max(2, num_classes - seed % 3), replace=False)  # some classes are absent
    y_true = random.choice(present, size=rows)
    y_true[:2] = present[:2]
    probabilities = random.dirichlet(np.full(num_classes, 0.3), size=rows)
    probabilities = np.round(probabilities, 2)  # ties, and exact zeros and ones
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    y_pred = probabilities.argmax(axis=1)

    measured = measures.classification(y_true, y_pred, probabilities, num_classes)

    assert measured["accuracy"] == pytest.approx(reference.accuracy_score(y_true, y_pred), abs=EXACT)
    f1 = reference.f1_score(y_true, y_pred, average="macro", zero_division=0)
    assert measured["f1_macro"] == pytest.approx(f1, abs=EXACT)
    expected = reference.log_loss(y_true, probabilities, labels=np.arange(num_classes))
    assert measured["log_loss"] == pytest.approx(expected, rel=EXACT)
    assert ("roc_auc" in measured) == (num_classes == 2)
    if num_classes == 2:
        assert measured["roc_auc"] == pytest.approx(reference.roc_auc_score(y_true, probabilities[:, 1]), abs=EXACT)
        ap = reference.average_precision_score(y_true, probabilities[:, 1])
        assert measures.average_precision(y_true, probabilities[:, 1]) == pytest.approx(ap, abs=EXACT)
    matrix = reference.confusion_matrix(y_true, y_pred, labels=np.arange(num_classes))
    assert (measures.confusion(y_true, y_pred, num_classes) == matrix).all()


def test_log_loss_of_float32_is_clipped_like_sklearn():
    y_true, probabilities = np.array([0, 1, 1]), np.array([[1, 0], [1, 0], [0.25, 0.75]], dtype=np.float32)
    expected = reference.log_loss(y_true, probabilities)
    assert measures.log_loss(y_true, probabilities) == pytest.approx(expected, rel=1e-6)


def test_a_shuffled_label_changes_every_classification_measure():
    y_true = np.arange(100) % 2
    probabilities = np.where(y_true[:, None] == [0, 1], 0.9, 0.1)
    right = measures.classification(y_true, probabilities.argmax(1), probabilities, 2)
    wrong = measures.classification(np.roll(y_true, 1), probabilities.argmax(1), probabilities, 2)
    assert right["accuracy"] == right["f1_macro"] == right["roc_auc"] == 1 and right["log_loss"] < 0.11
    assert wrong["accuracy"] == wrong["f1_macro"] == wrong["roc_auc"] == 0 and wrong["log_loss"] > 2


def test_roc_auc_is_nan_with_one_class():
    assert np.isnan(measures.roc_auc([1, 1], [0.2, 0.3]))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_equals_sklearn(seed, outputs):
    random = np.random.default_rng(seed)
    y_true = random.normal(50, 20, size=(200, outputs)).squeeze()
    y_pred = y_true + random.normal(0, 5 + 5 * seed, size=y_true.shape)
    if seed == 0:
        y_true = np.full_like(y_true, 7.0)
    measured = measures.regression(y_true, y_pred)
    assert measured["rmse"] == pytest.approx(reference.root_mean_squared_error(y_true, y_pred), rel=EXACT)
    assert measured["mae"] == pytest.approx(reference.mean_absolute_error(y_true, y_pred), rel=EXACT)
    assert measured["r2"] == pytest.approx(reference.r2_score(y_true, y_pred), rel=EXACT, abs=EXACT)


def test_regression_takes_a_column_for_a_vector():
    assert measures.regression([1.0, 2.0], [[1.0], [4.0]])["mae"] == 1.0


def test_r2_of_constant_target():
    assert measures.regression([3.0, 3.0], [3.0, 3.0])["r2"] == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(measures.regression([3.0], [3.0])["r2"])


def test_clustering_equals_sklearn():
    random = np.random.default_rng(0)
    y_true = random.integers(0, 3, 500)
    x = random.normal(size=(500, 4)) + 4 * y_true[:, None]
    labels = (x.mean(axis=1) // 4).astype(int)
    measured = measures.clustering(x, labels, y_true, inertia=12)
    assert measured["silhouette"] == pytest.approx(reference.silhouette_score(x, labels), abs=EXACT)
    assert measured["ari"] == pytest.approx(reference.adjusted_rand_score(y_true, labels), abs=EXACT)
    assert measured["inertia"] == 12.0
    assert list(measures.clustering(x, labels)) == ["silhouette"]
    assert np.isnan(measures.clustering(x, np.zeros(500))["silhouette"])


def test_silhouette_of_many_rows_is_sampled_and_repeatable():
    random = np.random.default_rng(0)
    x = random.normal(size=(20000, 2)) + 5 * (np.arange(20000) % 2)[:, None]
    first, second = (measures.clustering(x, np.arange(20000) % 2)["silhouette"] for _ in range(2))
    assert first == second == pytest.approx(0.74, abs=0.05)


def test_decomposition_equals_sklearn():
    from sklearn.decomposition import PCA

    x = np.random.default_rng(0).normal(size=(100, 6)) @ np.diag([5, 4, 3, 2, 1, 1])
    pca = PCA(3).fit(x)
    back = pca.inverse_transform(pca.transform(x))
    measured = measures.decomposition(x, back)
    assert measured["reconstruction_error"] == pytest.approx(reference.mean_squared_error(x, back), rel=EXACT)
    assert measured["explained_variance"] == pytest.approx(pca.explained_variance_ratio_.sum())


def test_measures_are_plain_floats():
    y = np.array([0, 1, 1])
    results = [
        measures.classification(y, y, np.eye(2, dtype=np.float32)[y]),
        measures.regression(y, y),
        measures.decomposition(np.eye(2), np.eye(2)),
    ]
    assert all(type(value) is float for result in results for value in result.values())


def test_a_network_run_needs_no_sklearn():
    code = (
        "import sys; from mlrun.evaluation import metrics as measures; y = [0, 1]; "
        "measures.classification(y, y, [[.9, .1], [.2, .8]]); measures.regression(y, y); "
        "assert not {'sklearn', 'scipy', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
