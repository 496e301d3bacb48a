"""The sets that scikit-learn brings along, and the transforms on them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from mlrun.data.datasets.images import Digits
from mlrun.data.datasets.tables import CLASSES, FEATURES, BundledTable, read_bundled
from mlrun.data.preprocess.transform import from_state
from mlrun.errors import DataError


def table(name, **options):
    problem = "regression" if name == "diabetes" else "classification"
    return BundledTable(name, problem, name, 1, **options)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits", "diabetes"])
def test_equal_to_scikit_learn(name):
    from sklearn import datasets

    expected = getattr(datasets, f"load_{name}")()
    x, y = read_bundled(name)
    np.testing.assert_allclose(x, expected.data, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(y, expected.target)
    if name in FEATURES:
        assert FEATURES[name] == list(expected.feature_names)
    if name in CLASSES:
        assert CLASSES[name] == list(expected.target_names)


def test_spec_and_arrays():
    iris = table("iris")
    assert iris.spec.facts == {"input_shape": [4], "num_outputs": 3, "num_classes": 3} and iris.spec.labels == [0, 1, 2]
    assert iris.sizes == {"train": 90, "val": 30, "test": 30}
    assert np.bincount(iris.arrays("val").y).tolist() == [10, 10, 10]
    x, y = read_bundled("iris")
    part = iris.arrays("train")
    assert (x[part.rows] == part.x).all() and (y[part.rows] == part.y).all() and part.y.dtype == np.int64
    digits = Digits("classification", "digits", 1)
    assert digits.spec.facts == {
        "input_shape": [1, 8, 8],
        "image_shape": [1, 8, 8],
        "num_outputs": 10,
        "num_classes": 10,
    }
    assert digits.arrays("test").x.shape == (359, 64)
    assert digits.digest == Digits("classification", "digits", 2).digest != iris.digest and digits.preprocessor is None


def test_standardization_uses_training_rows_only():
    module = table("wine")
    x, part = read_bundled("wine")[0], module.arrays("train")
    np.testing.assert_allclose(module.transform.shift, x[part.rows].mean(axis=0))
    np.testing.assert_allclose(module.transform.scale, x[part.rows].std(axis=0))
    assert np.abs(module.transform(part.x).mean(axis=0)).max() < 1e-5
    assert np.abs(module.transform(module.arrays("test").x).mean(axis=0)).max() > 0.01


def test_images_are_standardized_per_channel_or_divided_by_their_range():
    standardized, unit = Digits("classification", "digits", 1), Digits("classification", "digits", 1, normalize="unit")
    x = standardized.transform(standardized.arrays("train").x)
    assert x.shape == (1079, 1, 8, 8) and x.dtype == np.float32 and abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-5
    np.testing.assert_allclose(unit.transform(unit.arrays("val").x), unit.arrays("val").x.reshape(-1, 1, 8, 8) / 16)


@pytest.mark.parametrize("normalize", ["standardize", "unit", "none"])
def test_state_is_plain_and_makes_the_same_transform(normalize):
    module = table("diabetes", normalize=normalize)
    again = from_state(json.loads(json.dumps(module.transform.state)))
    x = module.arrays("test").x
    np.testing.assert_array_equal(again(x), module.transform(x))
    assert again.target_std == module.transform.target_std > 1


def test_regression_targets_are_standardized_for_networks():
    import torch

    module = table("diabetes")
    x, y = next(iter(module.loader("train")))
    assert x.shape == (64, 10) and y.shape == (64,) and y.dtype == torch.float32
    raw = module.arrays("train").y
    np.testing.assert_allclose(y, (raw[:64] - raw.mean()) / raw.std(), rtol=1e-6)


def test_a_set_of_another_problem_is_refused():
    with pytest.raises(DataError, match="diabetes is a regression set"):
        BundledTable("diabetes", "classification", "diabetes", 1)
    with pytest.raises(DataError, match="choose one of standardize"):
        table("iris", normalize="z").transform
    with pytest.raises(DataError, match="class|rows"):
        table("iris", split={"train": 148, "val": 1, "test": 20}).prepare()
    with pytest.raises(DataError, match="dataset.split.vall"):
        table("iris", split={"train": 0.8, "vall": 0.2}).prepare()


def test_no_heavy_import_before_it_is_needed():
    code = """
import sys
import mlrun.data.datasets.csv_file, mlrun.data.datasets.tables, mlrun.data.datasets.images
heavy = ("torch", "sklearn", "pandas", "pooch")
assert not [name for name in heavy if name in sys.modules]
data = mlrun.data.datasets.images.Digits("classification", "digits", 1)
data.arrays("train"), data.spec, data.transform, data.digest
assert not [name for name in heavy if name in sys.modules]
data.loader("train", "cpu", shuffle=True)
assert "sklearn" not in sys.modules and "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
