"""A classifier of the digits that samples are judged by, trained once."""

import pytest

from mlrun.judge import Judge
from tests.test_models import trained


@pytest.fixture(scope="session")
def judge(tmp_path_factory):
    learner, data = trained(tmp_path_factory.mktemp("judge"), "model=cnn", "model.network.hidden=[64]", "trainer.max_epochs=10")
    return Judge(learner, "of the tests", learner.evaluate(data, "test")["accuracy"])
