"""A reference classifier of the digits, trained once; a training that is stopped and resumed; a query as the command asks it."""

from __future__ import annotations

from argparse import ArgumentParser

import pytest
import torch

from mlrun.experiment.reference_classifier import ReferenceClassifier
from mlrun.experiment.stored import open_data
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from tests.test_models import Nobody, prepared, trained


@pytest.fixture(scope="session")
def reference_classifier(tmp_path_factory):
    """As an evaluator gets it: a function that gives it."""
    learner, data = trained(
        tmp_path_factory.mktemp("classifier"), "model=cnn", "model.network.hidden=[64]", "trainer.max_epochs=10"
    )
    classifier = ReferenceClassifier(learner, "of the tests", learner.evaluate(data, "test").metrics["accuracy"])
    return lambda: classifier


@pytest.fixture
def ask():
    """Asks a learner by its query `--samples`, with options as they are typed; returns the exit status."""

    def answer(learner, cfg, *options):
        (query,) = learner.queries
        parser = ArgumentParser()
        parser.add_argument("--output")
        query.add_options(parser)
        arguments = parser.parse_args([str(option) for option in options])
        assert query.is_asked(arguments)
        return query.answer(learner, cfg, arguments, open_data)

    return answer


class Stops(silent.Progress):
    def __init__(self, after):
        self.after = after

    def epoch(self, epoch, metrics):
        if epoch == self.after:
            raise RuntimeError("stopped")


@pytest.fixture
def whole_and_resumed(tmp_path):
    """Learners of the same configuration: one trained without a stop, one stopped after an epoch and resumed from its checkpoint."""

    def train(*overrides, after):
        whole, _ = trained(tmp_path / "whole", *overrides)
        cfg, data = prepared(*overrides)
        with pytest.raises(RuntimeError, match="stopped"):
            make_learner(cfg, data).fit(data, Nobody(), tmp_path / "stopped", Stops(after))
        cfg, data = prepared(*overrides)
        resumed = make_learner(cfg, data)
        torch.manual_seed(99)
        resumed.fit(
            data,
            Nobody(),
            tmp_path / "resumed",
            silent.Progress(),
            resume=tmp_path / "stopped" / "checkpoints" / "last.ckpt",
        )
        return whole, resumed

    return train
