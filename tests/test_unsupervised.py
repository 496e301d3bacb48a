"""Clustering, embedding and anomaly detection on data whose structure is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.datasets import make_blobs

from mlrun.estimators.clusters import DBSCAN, NOISE, Hierarchical
from mlrun.estimators.tsne import TSNE


def test_dbscan_follows_shapes_that_k_means_cannot(experiment):
    size = ["dataset=moons", "dataset.rows=900"]
    found, other = experiment("model=dbscan", *size), experiment("model=kmeans", "model.clusterer.n_clusters=2", *size)
    assert found.metrics["test/clusters"] == 2 and found.metrics["test/noise"] < 0.02
    assert found.metrics["test/ari"] > 0.95 and other.metrics["test/ari"] < 0.7  # measured 1.00 and .21 to .36


def test_dbscan_that_finds_no_cluster(experiment, capsys):
    result = experiment("model=dbscan", "dataset=moons", "dataset.rows=60", "model.clusterer.eps=0.001")
    assert result.metrics["test/clusters"] == 0 and result.metrics["test/noise"] == 1
    said = capsys.readouterr().err
    assert "val/silhouette is nan: it cannot be measured on the validation part" in said and "optim.lr" not in said
    assert (result.directory / "figures" / "clusters.png").is_file()


def test_new_rows_of_dbscan_join_the_nearest_dense_region():
    rows, classes = make_blobs([40, 40], centers=[[0, 0], [9, 9]], cluster_std=0.5, random_state=0)
    found = DBSCAN(eps=1.0, min_samples=4).fit(rows)
    assert len(set(found.labels_[classes == 0])) == 1
    near, far = found.predict([[0.2, 0.1], [9.1, 8.9]]), found.predict([[4.5, 4.5]])
    assert near.tolist() == [found.labels_[classes == one][0] for one in (0, 1)] and far.tolist() == [NOISE]


@pytest.mark.parametrize("kind", ["ward", "average", "complete"])
def test_hierarchical_clusters_are_scipys(kind):
    rows = make_blobs(60, centers=4, random_state=1)[0]
    found = Hierarchical(n_clusters=4, linkage=kind).fit(rows)
    expected = linkage(rows, kind)
    np.testing.assert_allclose(found.linkage_matrix[:, 2:], expected[:, 2:])
    labels = fcluster(expected, 4, "maxclust")
    assert len(set(zip(found.labels_.tolist(), labels.tolist()))) == 4  # the same groups
    assert found.predict(rows).tolist() == found.labels_.tolist()


def test_a_mixture_finds_ellipses_that_k_means_cannot(experiment):
    mixture, centers = experiment("model=gaussian_mixture", "seed=3"), experiment("model=kmeans", "seed=3")
    assert mixture.metrics["test/ari"] > centers.metrics["test/ari"] + 0.1  # measured .90 and about .6
    assert mixture.parameters == 3 * (4 + 16 + 1) and "test/log_likelihood" in mixture.metrics


def test_tsne_keeps_groups_apart_and_places_new_rows_among_them():
    rows, classes = make_blobs(90, centers=3, n_features=10, random_state=2)
    map_ = TSNE(perplexity=10, random_state=0).fit(rows[:60])
    places = map_.transform(rows[60:])
    nearest = ((places[:, None] - map_.embedding_[None]) ** 2).sum(-1).argmin(1)
    assert (classes[:60][nearest] == classes[60:]).all()
    assert TSNE(perplexity=5, random_state=0).fit(rows[:20, :1]).embedding_.shape == (20, 2)


@pytest.mark.parametrize("model", ["isolation_forest", "one_class_svm"])
def test_anomalies_are_told_from_the_normal_class(experiment, model, capsys):
    result = experiment(f"model={model}")
    assert (
        result.metrics["test/roc_auc"] > 0.8
        and result.metrics["test/detected"] > result.metrics["test/false_alarms"] + 0.3
    )
    assert {path.stem for path in (result.directory / "figures").glob("*.png")} >= {"scores", "roc_and_pr"}

    from mlrun import load

    model = load(result.directory)
    assert set(model.predict_frame(np.zeros((2, 30)))["prediction"]) <= {"normal", "anomaly"}


def test_decision_regions_of_a_table(experiment):
    result = experiment("model=naive_bayes", "dataset=iris")
    assert (result.directory / "figures" / "decision_regions.png").is_file()


def test_decision_regions_are_what_is_predicted():
    from mlrun.report.boundary import decision_regions

    rows = np.random.default_rng(0).normal(size=(50, 2))
    truth = (rows[:, 0] > 0).astype(int)
    figure = decision_regions(lambda x: (x[:, 0] > 0).astype(int), rows, truth, ["a", "b"], ["width", "height"])
    (axes,) = figure.axes
    assert axes.get_xlabel() == "width" and axes.get_ylabel() == "height"
    regions = axes.collections[0].get_array().reshape(140, 140)
    assert (regions[:, 0] == 0).all() and (regions[:, -1] == 1).all()
