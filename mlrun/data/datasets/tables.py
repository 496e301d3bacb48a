"""Tables bundled with scikit-learn: iris, wine, breast_cancer, diabetes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.features import Feature, Label, Value, Vector
from mlrun.data.row_data import ArrayData, Content
from mlrun.errors import DataError

_CELL = [
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
]

FEATURES = {
    "iris": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"],
    "wine": [
        "alcohol",
        "malic_acid",
        "ash",
        "alcalinity_of_ash",
        "magnesium",
        "total_phenols",
        "flavanoids",
        "nonflavanoid_phenols",
        "proanthocyanins",
        "color_intensity",
        "hue",
        "od280/od315_of_diluted_wines",
        "proline",
    ],
    "breast_cancer": [f"mean {name}" for name in _CELL]
    + [f"{name} error" for name in _CELL]
    + [f"worst {name}" for name in _CELL],
    "diabetes": ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"],
}
CLASSES = {
    "iris": ["setosa", "versicolor", "virginica"],
    "wine": ["class_0", "class_1", "class_2"],
    "breast_cancer": ["malignant", "benign"],
}
FILES = {
    "iris": "iris.csv",
    "wine": "wine_data.csv",
    "breast_cancer": "breast_cancer.csv",
    "digits": "digits.csv.gz",
    "diabetes": "diabetes_data_raw.csv.gz",
}


def read_bundled(table: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of a bundled set, equal to `sklearn.datasets.load_<table>(return_X_y=True)`.

    The files are read by their path, because importing scikit-learn takes longer than a small network's training.
    If another scikit-learn version stores them elsewhere, its own loader is used.
    """
    found = find_spec("sklearn")
    folder = Path(found.origin).parent / "datasets" / "data" if found and found.origin else Path()
    if not (folder / FILES[table]).is_file():
        from sklearn import datasets

        return getattr(datasets, f"load_{table}")(return_X_y=True)
    if table == "diabetes":
        x = np.loadtxt(folder / FILES[table])
        x = (x - x.mean(axis=0)) / x.std(axis=0) / len(x) ** 0.5  # the published form: zero mean, sum of squares 1
        return x, np.loadtxt(folder / "diabetes_target.csv.gz")
    values = np.loadtxt(folder / FILES[table], delimiter=",", skiprows=0 if table == "digits" else 1)
    return values[:, :-1], values[:, -1].astype(np.int64)


class BundledTable(ArrayData):
    """A table bundled with scikit-learn.

    Args:
        table: iris, wine, breast_cancer (classification) or diabetes (regression: progress of the disease after a year).
        problem, name, seed, options: see `ArrayData`.

    Raises:
        DataError: `problem` is not that of the table.
    """

    def __init__(self, table: str, problem: str, name: str, seed: int, **options: Any):
        super().__init__(problem, name, seed, **options)
        if table not in FEATURES:
            raise DataError(f"dataset.table={table}: choose one of {', '.join(FEATURES)}")
        own = "classification" if table in CLASSES else "regression"
        if problem != own:
            raise DataError(f"dataset.problem={problem}: {table} is a {own} set")
        self.table = table

    def read(self) -> Content:
        x, y = read_bundled(self.table)
        names = CLASSES.get(self.table)
        features: dict[str, Feature] = {"features": Vector(FEATURES[self.table])}
        if names is None:
            return Content({"features": x, "value": y}, {**features, "value": Value()}, "scikit-learn", ("value",))
        label = Label(list(range(len(names))), names)
        return Content({"features": x, "label": y}, {**features, "label": label}, "scikit-learn")
