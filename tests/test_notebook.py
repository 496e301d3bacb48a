"""The Python interface: `from mlrun import load, run`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mlrun import load, run
from mlrun.errors import ConfigError, UserError
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


def test_problems_are_raised_together(workplace):
    with pytest.raises(ConfigError, match="optim.lr") as raised:
        run("model=rf", "lr=0.1", quiet=True)
    assert len(raised.value.problems) == 2
    with pytest.raises(ConfigError, match="must be an integer >= 1"):
        run("trainer.max_epochs=0", quiet=True)
    with pytest.raises(UserError, match="neither a run directory nor a finished run"):
        load("nothing")


def test_importing_the_package_is_cheap(workplace):
    script = "import sys, mlrun; print(sorted({'torch', 'numpy', 'mlflow', 'hydra', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY)}
    )
    assert done.stdout.strip() == "[]", done.stderr
