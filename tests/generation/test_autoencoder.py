"""Autoencoders: better than PCA with as many components, noise is removed, similar images are found by their codes."""

from __future__ import annotations

import pytest

from tests.test_models import trained


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    learner, data = trained(tmp_path_factory.mktemp("autoencoder"), "model=autoencoder", "trainer.max_epochs=50")
    return learner.evaluate(data, "test").metrics


def test_better_than_pca(metrics):
    assert metrics["against_pca"] <= 0.85 and metrics["mse"] / metrics["pca_mse"] == pytest.approx(
        metrics["against_pca"]
    )


def test_images_are_found_by_their_code(metrics):
    assert (
        metrics["search_accuracy"] >= 0.885
    )  # the worst of five seeds 0.933, by the codes of an untrained encoder 0.836


def test_without_nonlinearity_it_is_no_better_than_pca(tmp_path):
    options = [
        "model.encoder.hidden=[]",
        "model.decoder.hidden=[]",
        "model.decoder.output=identity",
        "trainer.max_epochs=60",
        "optim.lr=0.01",
    ]
    learner, data = trained(tmp_path, "model=autoencoder", *options)
    assert 0.98 <= learner.evaluate(data, "test").metrics["against_pca"] < 1.1  # the best linear code is PCA's


def test_a_code_as_long_as_a_row_is_not_compared_with_pca(tmp_path):
    """Two components of points in the plane restore all but the rounding."""
    options = ["dataset=moons", "dataset.rows=200", "trainer.max_epochs=1", "model.decoder.latent_size=2"]
    learner, data = trained(tmp_path, "model=autoencoder", *options)
    assert (
        "mse" in (metrics := learner.evaluate(data, "test").metrics) and not {"pca_mse", "against_pca"} & metrics.keys()
    )


def test_noise_is_removed(tmp_path):
    learner, data = trained(
        tmp_path, "model=autoencoder", "model.noise=0.3", "model.masked=0.1", "trainer.max_epochs=30"
    )
    metrics = learner.evaluate(data, "test").metrics
    assert metrics["denoised_mse"] < 0.6 * metrics["noisy_mse"]
    assert learner.queries == []  # no samples: its codes have no known distribution to draw from


def test_the_parts_of_a_generated_distribution_are_no_classes(tmp_path):
    options = ["dataset=moons", "dataset.rows=500", "trainer.max_epochs=1", "model.decoder.latent_size=1"]
    learner, data = trained(tmp_path, "model=autoencoder", *options)
    metrics = learner.evaluate(data, "test").metrics
    assert "mse" in metrics and "search_accuracy" not in metrics
