"""The outcome of a run: its result, figures and logged model."""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.tracking.run import Run

if TYPE_CHECKING:
    from mlrun.data.examples import Examples
    from mlrun.predictions.learner import Learner

log = logging.getLogger("mlrun")


@dataclass
class Result:
    """The result of a run.

    metrics: the final "test/…" and the best epoch's "val/…". seconds: duration of each phase: data, import, fit, evaluate, report, log.
    classes: name of the metric with a class's recall -> the class as the data name it.
    """

    model: str
    dataset: str
    directory: Path
    monitor: str = ""
    mode: str = "max"
    status: str = "RUNNING"
    run_id: str | None = None
    recorded: bool = True  # False if MLflow rejected something or did not answer
    refused: str | None = None  # why MLflow did not accept everything of a nested run
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    parameters: int | None = None
    best_epoch: int | None = None
    reported_epoch: int = 0  # the epoch of the model that was evaluated; 0 without epochs
    loss_name: str | None = None  # the metric that equals the training loss
    name: str | None = None  # of the MLflow run; None: made of the configuration
    about: list[tuple[str, str]] = field(default_factory=list)  # (name, text) of what was inferred from the data
    began: bool = False  # whether the data and the model were accepted
    predict_ms: float | None = (
        None  # median time to predict one row; not in `metrics`, because repetitions of a run differ in it
    )

    @property
    def objective(self) -> float | None:
        """Value of the monitored metric, by which sweeps compare runs."""
        return self.metrics.get(self.monitor)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the duration of its block to `seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def seed_everything(seed: int) -> None:
    """Seeds Python and NumPy, and torch if it has been imported; otherwise the code that imports torch seeds it."""
    random.seed(seed)
    import numpy

    numpy.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def log_model(tracked: Run, learner: Learner, directory: Path, sample: Examples) -> None:
    """Records the saved learner as an MLflow model that takes raw rows such as `sample`."""
    from mlrun.data.inputs import as_input, table_columns
    from mlrun.experiment.model_description import describe_model

    columns = table_columns(learner.inputs)
    tracked.model(
        directory,
        as_input(sample),
        learner.predict(sample).answers(),
        learner.requirements(),
        learner.flavors(),
        columns,
        describe_model(columns) if columns else None,
    )


def draw(figures: Iterator[tuple[str, Any]], folder: Path) -> None:
    """Saves (name, figure) pairs one by one. A figure that cannot be drawn is logged and does not fail the run."""
    from mlrun.report.figures import save

    folder.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            name, figure = next(figures)
            path = folder / f"{name}.png"
            own = getattr(figure, "save", None)  # an animation saves itself
            own(path) if own else save(figure, path)
        except StopIteration:
            return
        except Exception:  # a generator that raised is exhausted: the next iteration ends the loop
            log.exception("a figure could not be drawn")
