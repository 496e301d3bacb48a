"""What a run leaves: its result, its figures, its logged model."""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.inputs import as_input, table_columns
from mlrun.predictions.learner import Learner
from mlrun.tracking.run import Run

log = logging.getLogger("mlrun")


@dataclass
class Result:
    """What is left of a run. `metrics` has the final "test/…" and the best epoch's "val/…"; `seconds` says where the time went: data, import,
    fit, evaluate, report, log."""

    model: str
    dataset: str
    directory: Path
    monitor: str = ""
    mode: str = "max"
    status: str = "RUNNING"
    run_id: str | None = None
    recorded: bool = True  # False: MLflow refused something, or never answered
    refused: str | None = None  # what MLflow did not take of the runs below this one
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    parameters: int | None = None
    best_epoch: int | None = None
    predict_ms: float | None = None  # median time of answering one row; no metric: no two runs have the same

    @property
    def objective(self) -> float | None:
        """The watched metric, which sweeps compare."""
        return self.metrics.get(self.monitor)

    @contextmanager
    def phase(self, name: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def seed_everything(seed: int) -> None:
    """Seeds Python, and NumPy and torch if they are there; what is imported later is seeded where it is used."""
    random.seed(seed)
    import numpy

    numpy.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def log_model(tracked: Run, learner: Learner, directory: Path, sample: Examples) -> None:
    """Records the saved learner as an MLflow model that takes raw rows such as `sample`."""
    tracked.model(
        directory,
        as_input(sample),
        learner.predict(sample).answers(),
        learner.requirements(),
        learner.flavors(),
        table_columns(learner.inputs),
    )


def draw(figures: Iterator[tuple[str, Any]], folder: Path) -> None:
    """Writes figures one by one. One that cannot be drawn is logged; the trained model does not depend on it."""
    from mlrun.report.figures import save

    folder.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            name, figure = next(figures)
            path = folder / f"{name}.png"
            own = getattr(figure, "save", None)  # a film knows how it is written
            own(path) if own else save(figure, path)
        except StopIteration:
            return
        except Exception:  # a generator that raised is exhausted: the next turn ends the loop
            log.exception("a figure could not be drawn")
