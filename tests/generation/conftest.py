"""A classifier of the digits that samples are judged by, trained once; a training that is stopped and gone on with."""

from __future__ import annotations

import pytest
import torch

from mlrun.experiment.reference_classifier import Judge
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from tests.test_models import Nobody, prepared, trained


@pytest.fixture(scope="session")
def judge(tmp_path_factory):
    learner, data = trained(
        tmp_path_factory.mktemp("judge"), "model=cnn", "model.network.hidden=[64]", "trainer.max_epochs=10"
    )
    return Judge(learner, "of the tests", learner.evaluate(data, "test")["accuracy"])


class Stops(silent.Progress):
    def __init__(self, after):
        self.after = after

    def epoch(self, epoch, metrics):
        if epoch == self.after:
            raise RuntimeError("stopped")


@pytest.fixture
def whole_and_resumed(tmp_path):
    """Learners of the same configuration: one trained in one go, one stopped after an epoch and gone on with from its checkpoint."""

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
