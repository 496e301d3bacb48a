"""The Python interface, for notebooks and scripts.

from mlrun import load, run

result = run("model=svm", "dataset=iris")
result.metrics["test/accuracy"]
result.figures["confusion_matrix"]        # a matplotlib Figure
load(result.run_id).predict(frame)
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, UserError
from mlrun.experiment.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Model:
    """The model of a finished run.

    Args:
        run: the run's directory or its MLflow id.
        trust: also load files that another user wrote and that can run code.
    """

    def __init__(self, run: str | Path, trust: bool = False):
        from mlrun.experiment.stored import open_run

        self.config, self.learner = open_run(str(run), trust)

    def predict(self, rows: Any) -> Any:
        """Predictions, one per row: labels, values or texts.

        Args:
            rows: as in the data: a DataFrame with the columns of the training data, an array, or a list of texts.

        Raises:
            DataError: the rows do not have the form of the training data.
        """
        return self._predict(rows).answers()

    def predict_frame(self, rows: Any) -> Any:
        """A DataFrame with the predictions and, for classifiers, a column `probability_CLASS` per class. rows: as for `predict`."""
        import pandas as pd

        return pd.DataFrame(self._predict(rows).columns())

    def _predict(self, rows: Any) -> Any:
        from mlrun.data.inputs import as_examples

        return self.learner.predict(as_examples(rows, self.learner.inputs))

    def evaluate(self, part: str = "test") -> dict[str, float]:
        """Metrics on a part of the run's data: train, train_dev, val or test."""
        return self.learner.evaluate(self._data, part).metrics

    def figures(self, part: str = "test") -> dict[str, Figure]:
        """The figures of the run's report for a part of its data, by name, as matplotlib figures; animations are left out."""
        from matplotlib.figure import Figure

        from mlrun.report.view import figures

        drawn = figures(self.learner, self._data, self.learner.evaluate(self._data, part))
        return {name: figure for name, figure in drawn if isinstance(figure, Figure)}

    @cached_property
    def _data(self) -> Any:
        from mlrun.experiment.stored import open_data

        return open_data(self.config, self.learner)


class Outcome(Result):
    """The result of `run`."""

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures of the report by name, drawn from the stored model."""
        return load(self.directory).figures()


def load(run: str | Path, trust: bool = False) -> Model:
    """The model of a finished run, ready to predict. See `Model`.

    Raises:
        UserError: the run does not exist, did not finish, or may not be loaded.
    """
    return Model(run, trust)


def run(*overrides: str, directory: str | Path | None = None, quiet: bool = False) -> Outcome:
    """Runs an experiment, as `mlrun OVERRIDES` does, and records it in MLflow.

    Args:
        overrides: as on the command line, such as "model=svm", "optim.lr=0.01".
        directory: where the run writes; None: a new directory in ./outputs.
        quiet: print nothing.

    Returns:
        The result, with `metrics`, `run_id`, `directory`, `seconds` and `figures`.

    Raises:
        ConfigError: the configuration is invalid; the message lists all problems.
        UserError: the data cannot be used.
    """
    from mlrun.config.compose import compose, new_run_directory
    from mlrun.config.explain import COMPOSITION_ERRORS, explain
    from mlrun.experiment.log import log_to
    from mlrun.experiment.run import run as run_experiment
    from mlrun.report import silent, terminal

    words = list(overrides)
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(f"{word!r}: give the overrides one by one, as texts: run('model=svm', 'dataset=iris')")
        if word.lstrip("+").startswith("hydra.run.dir="):
            raise ConfigError(f"{word}: in Python the directory is an argument: run(..., directory=...)")
    try:
        cfg, problems = compose(words), explain(words)
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(words, error=error)) from None
    if problems:
        raise ConfigError(problems)
    path = Path(directory) if directory else new_run_directory(cfg)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}") from None
    log_to(path / "mlrun.log")
    return Outcome(**vars(run_experiment(cfg, path, words, report=silent if quiet else terminal)))
