"""Each metric of samples on data whose answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mlrun.data.datasets.points import Grid, Moons, Ring
from mlrun.evaluation import fidelity
from mlrun.evaluation.evaluator import Subject
from mlrun.evaluation.resemblance import Resemblance


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_modes(random):
    centers = Ring("generation", "ring", 0).centers
    # the sixth has one sample of 801
    samples = np.concatenate([centers[:5].repeat(100, axis=0), np.zeros((300, 2)), centers[5:6]])
    found = fidelity.modes(samples, centers, 0.02)
    assert found["modes"] == 5 and found["good"] == pytest.approx(501 / 801)
    real, _ = Ring("generation", "ring", 0).draw(4000, random)
    found = fidelity.modes(real, centers, 0.02)
    # within 3 deviations in the plane
    assert found["modes"] == 8 and found["good"] == pytest.approx(1 - np.exp(-4.5), abs=0.01)


def test_mmd_is_the_formula_and_unbiased(random):
    x, y = random.normal(size=(30, 2)), random.normal(size=(40, 2))
    both = np.concatenate([x, y])
    squared = ((both[:, None] - both[None]) ** 2).sum(-1)
    median = np.median(squared[np.triu_indices(70, 1)])
    kernel = np.mean([np.exp(-squared / (2 * median * width**2)) for width in (0.25, 0.5, 1, 2, 4)], axis=0)
    np.fill_diagonal(kernel, 0)
    expected = kernel[:30, :30].sum() / (30 * 29) + kernel[30:, 30:].sum() / (40 * 39) - 2 * kernel[:30, 30:].mean()
    assert fidelity.mmd(x, y)["mmd"] == pytest.approx(expected)


def test_level_of_the_mmd_test(random):
    """Of samples of one distribution about 5 % are told apart at the 5 % level; samples of two distributions nearly always."""
    moons = Moons("generation", "moons", 0)
    same = [fidelity.mmd(*(moons.draw(100, random)[0] for _ in range(2)), 99, seed)["mmd_p"] for seed in range(100)]
    assert np.mean(np.array(same) <= 0.05) <= 0.13 and 0.35 < np.mean(same) < 0.65
    wider = [fidelity.mmd(moons.draw(100, random)[0], 1.5 * moons.draw(100, random)[0], 99)["mmd_p"] for _ in range(20)]
    assert np.mean(np.array(wider) <= 0.05) >= 0.9


def test_neighbourhoods(random):
    real = random.normal(size=(400, 3))
    same = fidelity.neighbourhoods(real, random.normal(size=(400, 3)))
    assert min(same.values()) > 0.85 and same["density"] == pytest.approx(1, abs=0.15)
    far = fidelity.neighbourhoods(real, random.normal(size=(400, 3)) + 50)
    assert set(far.values()) == {0.0}
    # half of the data
    half = np.abs(random.normal(size=(400, 3))) * [1, 0, 0] + random.normal(size=(400, 3)) * [0, 1, 1]
    half = fidelity.neighbourhoods(real, half)
    assert half["precision"] > 0.85 and half["recall"] < 0.75 and half["coverage"] < 0.75
    one = fidelity.neighbourhoods(real, real[:1].repeat(400, axis=0))  # collapsed, and perfectly typical
    assert one["precision"] == 1 and one["coverage"] < 0.05


def test_frechet_of_gaussians(random):
    """Diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    x = random.normal(size=(200_000, 2)) * [1, 2] + [0, 1]
    y = random.normal(size=(200_000, 2)) * [3, 1] + [2, 1]
    assert fidelity.frechet(x, y) == pytest.approx(4 + 4 + 1, rel=0.02)
    assert fidelity.frechet(x, x) == pytest.approx(0, abs=1e-6)
    turned = random.normal(size=(50, 3))
    assert fidelity.frechet(turned, turned + 1) == pytest.approx(3)
    assert np.isnan(fidelity.frechet(x, np.where(x > 2, np.nan, x)))  # of a model that has diverged


def test_diversity_and_memorization(random):
    real, classes = random.normal(size=(300, 4)), np.arange(300) % 3
    assert fidelity.diversity(real, classes, real, classes) == pytest.approx(1)
    assert fidelity.diversity(real / 2, classes, real, classes) == pytest.approx(0.5)
    assert fidelity.diversity(np.eye(3, 4)[classes], classes, real, classes) == pytest.approx(0, abs=1e-6)
    train, fresh = random.normal(size=(500, 4)), random.normal(size=(200, 4))
    assert fidelity.memorization(random.normal(size=(200, 4)), train, fresh) == pytest.approx(1, abs=0.25)
    assert fidelity.memorization(train[:200], train, fresh) == pytest.approx(0, abs=1e-4)
    distances, rows = fidelity.nearest(train[:5] + 1e-3, train)
    assert list(rows) == [0, 1, 2, 3, 4] and distances == pytest.approx(np.full(5, 2e-3), rel=1e-4)


def test_pca_error_is_scikit_learns(random):
    train, test = random.normal(size=(100, 6)) * [5, 4, 3, 2, 1, 1], random.normal(size=(50, 6))
    pca = PCA(2).fit(train)
    expected = ((test - pca.inverse_transform(pca.transform(test))) ** 2).mean()
    assert fidelity.pca_error(train, test, 2) == pytest.approx(expected)


def test_points():
    grid = Grid("generation", "grid25", 1)
    grid.prepare()
    assert len(grid.centers) == 25 and len(grid.target.classes) == 25 and np.ptp(grid.centers) == 8
    x, y = grid.content.columns["point"], grid.content.columns["part"]
    assert np.abs((x - grid.centers[y]).std() - 0.05) < 0.002
    moons = Moons("generation", "moons", 1)
    x, y = moons.draw(5000, np.random.default_rng(1))
    assert np.abs(x.mean(axis=0)).max() < 0.05
    radius = np.hypot(*(x[y == 0] + [0.5, 0.25]).T)
    assert radius.mean() == pytest.approx(1, abs=0.01) and radius.std() == pytest.approx(0.05, abs=0.005)


def test_one_row_tells_nothing_about_a_distribution(random):
    one, more = random.normal(size=(1, 3)), random.normal(size=(9, 3))
    assert np.isnan([fidelity.frechet(one, more), fidelity.frechet(more, one), fidelity.mmd(one, more)["mmd"]]).all()
    assert np.isnan(list(fidelity.neighbourhoods(one, more).values())).all()


def test_a_conditional_model_is_asked_for_the_classes_of_the_rows_it_is_compared_with():
    """With all classes in turn, a perfect model of data with a rare class would be told apart from them."""
    asked = []

    class Perfect:
        def draw(self, count, seed, labels=None):
            asked.append(labels)
            return labels[:, None] + 0.01 * torch.randn(count, 1, generator=torch.Generator().manual_seed(seed)), labels

    evaluator = Resemblance(every_epoch=True)
    evaluator.begin(Subject(SimpleNamespace(task=Perfect()), None, "val", in_training=True))
    classes = torch.tensor([0] * 18 + [1] * 2)
    rows = classes[:, None] + 0.01 * torch.randn(20, 1, generator=torch.Generator().manual_seed(9))
    evaluator.update({"x": rows, "labels": classes}, None, None)
    assert evaluator.compute()["mmd"] < 0.05 and torch.equal(asked[0], classes)
