"""CycleGAN: its pool and its steps against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from mlrun.tasks.cyclegan import ImagePool, as_if
from tests.test_models import Nobody, prepared


def test_the_pool_fills_then_exchanges():
    pool = ImagePool(6, seed=0)
    first = torch.arange(4.0).reshape(4, 1, 1, 1)
    assert torch.equal(pool.exchange(first), first)
    seen, came = [first.flatten()], [first.flatten()]
    kept_back = 0
    for step in range(1, 50):
        images = torch.arange(4.0).reshape(4, 1, 1, 1) + 4 * step
        given = pool.exchange(images)
        assert given.shape == images.shape and len(pool.images) == min(6, 4 + 4 * step)
        kept_back += int((given != images).sum())
        seen.append(given.flatten())
        came.append(images.flatten())
        counts = torch.bincount(torch.cat(seen).int())
        assert counts.max() <= 2  # an image is seen when it comes, or when it leaves the pool; the first six both times
    assert 70 < kept_back < 125  # half of 4 * 49
    everything = torch.cat([torch.cat(seen), pool.images.flatten()]).unique()
    assert torch.equal(everything, torch.cat(came).sort().values)


def test_no_pool_gives_what_it_gets():
    images = torch.randn(3, 1, 2, 2)
    assert torch.equal(ImagePool(0).exchange(images), images)


def test_a_pool_goes_on_after_a_stop():
    pool, other = ImagePool(5, seed=1), ImagePool(5, seed=9)
    torch.manual_seed(0)
    for _ in range(4):
        pool.exchange(torch.randn(3, 1, 2, 2))
    other.restore(pool.state())
    images = torch.randn(8, 1, 2, 2)
    assert torch.equal(pool.exchange(images), other.exchange(images)) and torch.equal(pool.images, other.images)


def test_least_squares():
    assert float(as_if(torch.tensor([[1.0, 0.0], [2.0, 1.0]]), 1.0)) == 0.5


QUICK = ["model=cyclegan", "trainer.accelerator=cpu", "trainer.max_epochs=6", "dataset.batch_size=32", "optim.lr=0.002"]


def learner_of(*overrides):
    cfg, data = prepared(*QUICK, *overrides)
    return make_learner(cfg, data), data


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    learner, data = learner_of()
    learner.fit(data, Nobody(), tmp_path_factory.mktemp("cyclegan"), silent.Progress())
    return learner, data


def test_digits_are_inverted_and_come_back(translator):
    """The true inversion is known to the data, not to the task."""
    learner, data = translator
    measured = learner.evaluate(data, "test")
    assert measured["cycle_l1"] <= 0.05 and measured["l1"] <= 0.06


def test_without_the_cycle_they_do_not_come_back(tmp_path):
    learner, data = learner_of("model.cycle_weight=0")
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.evaluate(data, "test")["cycle_l1"] > 0.06


def test_a_resumed_training_translates_the_same(whole_and_resumed):
    """Four networks, two optimizers, their schedules and the pools are in the checkpoint."""
    small = ["model.translator.channels=4", "model.judge.channels=4", "model.pool_size=20", "trainer.max_epochs=4"]
    whole, resumed = whole_and_resumed(*QUICK, *small, after=2)
    for one, two in zip(whole.task.state_dict().values(), resumed.task.state_dict().values()):
        assert torch.equal(one, two)
    assert len(whole.task.pools["a"].images) == 20 and torch.equal(
        whole.task.pools["a"].images, resumed.task.pools["a"].images
    )


def test_a_saved_translator_translates_the_same(translator, tmp_path):
    learner, data = translator
    learner.save(tmp_path / "model")
    x = data.example("test")
    translated = learner.predict(x)
    np.testing.assert_array_equal(translated, load_learner(tmp_path / "model").predict(x))
    # answers in the range of the files
    assert translated.shape == x.shape and np.abs(translated - (1 - x)).mean() < 0.06


def test_figures(translator):
    learner, data = translator
    learner.evaluate(data, "test")
    assert [name for name, _ in learner.task.figures(data, "test")] == ["A_to_B", "B_to_A", "animation"]
