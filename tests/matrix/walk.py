"""One run through everything that a user does with it: fit, MLflow, the logged model, `evaluate`, `predict`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.config.validate import validate
from mlrun.data.inputs import as_examples, as_input
from mlrun.experiment.run import run
from mlrun.experiment.stored import open_data, open_run
from mlrun.report import silent
from mlrun.tracking.read import read_run


def walk(directory: Path, *overrides: str) -> None:
    """Asserts that every step works. The working directory holds the database."""
    import mlflow

    overrides = ("trainer.max_epochs=1", "trainer.threads=1", *overrides)
    cfg = compose(list(overrides))
    assert not validate(cfg, list(overrides))[0]  # the command line accepts it
    result = run(cfg, directory, list(overrides), report=silent)
    assert result.status == "FINISHED" and result.recorded and not result.refused
    assert any(name.startswith("test/") for name in result.metrics)
    assert read_run(result.run_id).status == "FINISHED"
    assert result.monitor in result.metrics or result.monitor.replace("val/", "test/") in result.metrics

    cfg, learner = open_run(str(directory))
    declared = set(learner.directions).union(*(evaluator.metrics for evaluator in learner.evaluators))
    assert declared >= {name.partition("/")[2] for name in result.metrics if name.startswith("test/")}
    sample = open_data(cfg).sample("test")
    mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').resolve()}")
    served = mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model")
    expected = learner.predict(as_examples(as_input(sample), learner.inputs)).answers()
    assert _text(served.predict(as_input(sample))) == _text(expected)

    with patch("mlrun.experiment.result.draw"):  # the run has drawn the same figures
        assert dispatch(["evaluate", str(directory)]) == 0
    _predict(directory, learner, sample)


def _text(answers) -> str:
    return json.dumps(np.asarray(answers).tolist() if isinstance(answers, np.ndarray) else list(answers), default=str)


def _predict(directory: Path, learner, sample) -> None:
    """`mlrun predict` on a file of the sample; without one where the model acts."""
    if any(query.without_input for query in learner.queries):
        assert dispatch(["predict", str(directory), "--output", str(directory / "played")]) == 0
        return
    name, feature = next(iter(learner.inputs.items()))
    source, output = directory / "input.csv", directory / "predicted.csv"
    if feature.kind == "image" and not feature.pixel_names and len(learner.inputs) == 1:
        source = directory / "pictures"
        _write_pictures(source, np.asarray(sample[name]), feature.value_range)
    else:
        given = as_input(sample)
        if not hasattr(given, "columns"):
            import pandas as pd

            given = pd.DataFrame(given, columns=[column for column, _ in feature.columns(name)])
        given.to_csv(source, index=False)
    assert dispatch(["predict", str(directory), str(source), "--output", str(output)]) == 0
    with open(output, newline="") as file:
        assert len(list(csv.DictReader(file))) == len(sample)


def _write_pictures(folder: Path, pixels: np.ndarray, white: float) -> None:
    from PIL import Image

    folder.mkdir()
    for row, image in enumerate(pixels / white * 255):
        values = image.clip(0, 255).astype(np.uint8)
        Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0)).save(folder / f"{row}.png")
