"""The sets that scikit-learn brings along, and the transforms on them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from mlrun.data.datasets.images import Digits
from mlrun.data.datasets.tables import CLASSES, FEATURES, BundledTable, read_bundled
from mlrun.data.preprocess.preprocessor import load, make_preprocessor
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
    spec = {"input_shape": [4], "features_shape": [4], "num_outputs": 3, "num_classes": 3}
    assert make_preprocessor(None, iris).spec == {**spec, "target": "label", "target_std": 1.0}
    assert iris.target.classes == [0, 1, 2] and iris.inputs == ("features",) and iris.targets == ("label",)
    assert iris.sizes == {"train": 90, "val": 30, "test": 30}
    assert np.bincount(iris.examples("val")["label"]).tolist() == [10, 10, 10]
    x, y = read_bundled("iris")
    part, rows = iris.examples("train"), iris.rows("train")
    assert (x[rows] == part["features"]).all() and (y[rows] == part["label"]).all() and part["label"].dtype == np.int64
    digits = Digits("classification", "digits", 1)
    spec = make_preprocessor(None, digits).spec
    assert spec["input_shape"] == spec["image_shape"] == [1, 8, 8] and spec["num_outputs"] == spec["num_classes"] == 10
    as_estimator = make_preprocessor(None, digits, estimator=True)
    assert as_estimator.encode(digits.examples("test"))["features"].shape == (359, 64)
    assert digits.digest == Digits("classification", "digits", 2).digest != iris.digest


def test_standardization_uses_training_rows_only():
    module = table("wine")
    x, rows, made = read_bundled("wine")[0], module.rows("train"), make_preprocessor(None, module)
    scaling = made.encoders["features"].scaling
    np.testing.assert_allclose(scaling.shift, x[rows].mean(axis=0))
    np.testing.assert_allclose(scaling.scale, x[rows].std(axis=0))
    assert np.abs(made.encode(module.examples("train"))["features"].mean(axis=0)).max() < 1e-5
    assert np.abs(made.encode(module.examples("test"))["features"].mean(axis=0)).max() > 0.01


def test_images_are_standardized_per_channel_or_divided_by_their_range():
    standardized, unit = Digits("classification", "digits", 1), Digits("classification", "digits", 1, normalize="unit")
    x = make_preprocessor(None, standardized).encode(standardized.examples("train"))["pixel_values"]
    assert x.shape == (1079, 1, 8, 8) and x.dtype == np.float32 and abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-5
    val = unit.examples("val")
    np.testing.assert_allclose(make_preprocessor(None, unit).encode(val)["pixel_values"], val["image"] / 16)


@pytest.mark.parametrize("normalize", ["standardize", "unit", "none"])
def test_state_is_plain_and_makes_the_same_preprocessor(normalize):
    module = table("diabetes", normalize=normalize)
    made = make_preprocessor(None, module)
    again = load(json.loads(json.dumps(made.state)))
    test = module.examples("test")
    for name, values in made.encode(test).items():
        np.testing.assert_array_equal(again.encode(test)[name], values)
    assert again.encoders["value"].std == made.encoders["value"].std > 1
    outputs = {"values": made.encode(test)["labels"]}
    np.testing.assert_allclose(again.decode(outputs).values, test["value"], rtol=1e-6)


def test_regression_targets_are_standardized_for_networks():
    import torch

    module = table("diabetes")
    batch = next(iter(module.loader("train", make_preprocessor(None, module))))
    y = batch["labels"]
    assert batch["features"].shape == (64, 10) and y.shape == (64,) and y.dtype == torch.float32
    raw = module.examples("train")["value"]
    np.testing.assert_allclose(y, (raw[:64] - raw.mean()) / raw.std(), rtol=1e-6)


def test_a_set_of_another_problem_is_refused():
    with pytest.raises(DataError, match="diabetes is a regression set"):
        BundledTable("diabetes", "classification", "diabetes", 1)
    with pytest.raises(DataError, match="choose one of standardize"):
        make_preprocessor(None, table("iris", normalize="z"))
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
from mlrun.data.preprocess.preprocessor import make_preprocessor
made = make_preprocessor(None, data)
made.encode(data.examples("train")), made.spec, made.state, data.digest
assert not [name for name in heavy if name in sys.modules]
data.loader("train", made, "cpu", shuffle=True)
assert "sklearn" not in sys.modules and "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
