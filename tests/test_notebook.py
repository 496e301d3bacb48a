"""The Python interface: `from mlrun import load, run`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mlrun import load, run
from mlrun.errors import ConfigError, DataError, UserError
from tests.conftest import REPOSITORY


def test_a_run_and_its_model(workplace, capsys):
    from matplotlib.figure import Figure
    from sklearn.datasets import load_iris

    result = run("model=svm", "dataset=iris", "seed=3")
    assert "svm on iris: FINISHED" in capsys.readouterr().out
    assert result.metrics["test/accuracy"] > 0.8 and (result.directory / "mlrun.log").is_file()
    assert {"confusion_matrix", "decision_regions"} <= set(result.figures)
    assert all(isinstance(figure, Figure) for figure in result.figures.values())
    captions = {name: figure.texts[-1].get_text() for name, figure in result.figures.items()}
    assert captions["confusion_matrix"] == "svm on iris, test split, 30 rows"
    assert (
        captions["permutation_importance"] == "svm on iris, val split, 30 rows"
    )  # it selects nothing by the test rows

    model = load(result.run_id)  # from MLflow; `load(result.directory)` from the directory
    rows = load_iris().data[::10]
    frame = model.predict_frame(rows)
    assert list(model.predict(rows)) == list(frame["prediction"])
    assert np.allclose(frame.filter(like="probability_").sum(axis=1), 1) if "probability_0" in frame else True
    assert model.evaluate("test")["accuracy"] == pytest.approx(result.metrics["test/accuracy"])
    assert np.mean(model.predict(load_iris().data) == load_iris().target) > 0.9


def test_the_columns_of_a_table_are_found_by_name(workplace):
    """An array has the order of training; a table may have any, and further columns."""
    import pandas as pd

    model = load(run("model=knn", "dataset=iris", quiet=True).directory)
    names = model.learner.inputs["features"].names
    table = pd.DataFrame([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], columns=names)
    assert list(model.predict(table.to_numpy())) == list(model.predict(table)) == [0, 2]
    assert list(model.predict(table[names[::-1]].assign(more=1))) == [0, 2]
    for rows, message in (
        (table[names[:3]], "lack the column petal width"),
        (table[[*names, names[0]]], "have the column 'sepal length .cm.' twice"),
        (table.to_numpy()[:, :3], "a row is 3, and this model reads 4 .sepal length"),
        (table.to_numpy()[0], "a row is a single number"),
        (table[:0], "there are no rows"),
        ([[1, 2, 3, 4], [1]], "the rows are not numbers"),
        ([["a", "b", "c", "d"]], "the rows are not numbers"),
        (table.to_numpy() * 1j, "the rows are not numbers"),
        (None, "give an array, a list or a table of rows"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(rows)


def test_problems_are_raised_together(workplace):
    with pytest.raises(ConfigError, match="optim.lr") as raised:
        run("model=rf", "lr=0.1", quiet=True)
    assert len(raised.value.problems) == 2
    with pytest.raises(ConfigError, match="must be an integer >= 1"):
        run("trainer.max_epochs=0", quiet=True)
    with pytest.raises(ConfigError, match="one by one"):
        run(["model=svm", "dataset=iris"])
    with pytest.raises(ConfigError, match="the directory is an argument"):
        run("hydra.run.dir=mine", quiet=True)
    with pytest.raises(UserError, match="neither a run directory nor a finished run"):
        load("nothing")


def test_importing_the_package_is_cheap(workplace):
    script = "import sys, mlrun; print(sorted({'torch', 'numpy', 'mlflow', 'hydra', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY)}
    )
    assert done.stdout.strip() == "[]", done.stderr
