"""Runs that several tests of a stored model use, made once."""

from __future__ import annotations

import pytest

from mlrun.config.compose import compose
from mlrun.experiment.run import run
from mlrun.report import silent


@pytest.fixture(scope="package")
def finished(tmp_path_factory):
    """Starts a run once for all tests and gives its directory; all in one working directory with one database."""
    folder, done = tmp_path_factory.mktemp("finished"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)

        def start(*overrides):
            patch.chdir(folder)
            if overrides not in done:
                done[overrides] = run(
                    compose(list(overrides)), folder / f"run{len(done)}", list(overrides), report=silent
                ).directory
            return done[overrides]

        start.folder = folder
        yield start


NETWORK = ("model=mlp", "dataset=iris", "trainer.max_epochs=20", "optim.lr=0.01")
ESTIMATOR = ("model=random_forest", "dataset=iris")
IMAGES = ("model=lenet", "dataset=digits", "trainer.max_epochs=2")
