"""CycleGAN: its pool and its steps against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mlrun.errors import UserError
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.predictions.serving import Served
from mlrun.report import silent
from mlrun.report.view import figures
from mlrun.tasks.cyclegan import ImagePool, squared_distance
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


def test_a_pool_resumes():
    pool, other = ImagePool(5, seed=1), ImagePool(5, seed=9)
    torch.manual_seed(0)
    for _ in range(4):
        pool.exchange(torch.randn(3, 1, 2, 2))
    other.restore(pool.state())
    images = torch.randn(8, 1, 2, 2)
    assert torch.equal(pool.exchange(images), other.exchange(images)) and torch.equal(pool.images, other.images)


def test_least_squares():
    assert float(squared_distance(torch.tensor([[1.0, 0.0], [2.0, 1.0]]), 1.0)) == 0.5


QUICK = ["model=cyclegan", "trainer.accelerator=cpu", "trainer.max_epochs=8", "dataset.batch_size=32", "optim.lr=0.002"]


def learner_of(*overrides):
    cfg, data = prepared(*QUICK, *overrides)
    return make_learner(cfg, data), data


# Of five seeds the worst ends at 0.04 and 0.05 (mean distance of an image from itself after both translations, and of a translation from the
# true one), without the cycle the best at 0.19 and 0.15. Without `cycle_warmup`, two of the five keep the identity, with a distance of 0.57.
CYCLE_LIMIT, LIMIT = 0.09, 0.09


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    learner, data = learner_of()
    learner.fit(data, Nobody(), tmp_path_factory.mktemp("cyclegan"), silent.Progress())
    return learner, data


def test_digits_are_inverted_and_come_back(translator):
    """The true inversion is known to the data, not to the task."""
    learner, data = translator
    measured = learner.evaluate(data, "test").metrics
    assert measured["cycle_l1"] < CYCLE_LIMIT and measured["l1"] < LIMIT


def test_without_the_cycle_they_do_not_come_back(tmp_path):
    learner, data = learner_of("model.cycle_weight=0")
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    measured = learner.evaluate(data, "test").metrics
    assert measured["cycle_l1"] > CYCLE_LIMIT and measured["l1"] > LIMIT


def test_a_map_of_one_pixel_cannot_be_normalized(tmp_path):
    learner, data = learner_of("model.discriminator.halvings=3")
    with pytest.raises(UserError, match="instance normalization got a map of a single pixel"):
        learner.fit(data, Nobody(), tmp_path, silent.Progress())


def test_a_resumed_training_translates_the_same(whole_and_resumed):
    """Four networks, two optimizers, their schedules and the pools are in the checkpoint."""
    small = [
        "model.translator.channels=4",
        "model.discriminator.channels=4",
        "model.pool_size=20",
        "trainer.max_epochs=4",
    ]
    whole, resumed = whole_and_resumed(*QUICK, *small, after=2)
    for one, two in zip(whole.task.state_dict().values(), resumed.task.state_dict().values()):
        assert torch.equal(one, two)
    assert len(whole.task.pools["a"].images) == 20 and torch.equal(
        whole.task.pools["a"].images, resumed.task.pools["a"].images
    )


def test_a_saved_translator_translates_the_same(translator, tmp_path):
    learner, data = translator
    learner.save(tmp_path / "model")
    sample = data.sample("test")
    translated = learner.predict(sample).answers()
    served = Served(load_learner(tmp_path / "model"))  # takes images of domain A
    np.testing.assert_array_equal(translated, served.predict(sample["image_a"].reshape(5, -1)))
    # answers in the range of the files
    assert translated.shape == (5, 1, 8, 8) and np.abs(translated - (1 - sample["image_a"])).mean() < LIMIT


def test_translations_are_written(translator, ask, tmp_path):
    learner, data = translator
    assert ask(learner, learner.cfg, "--samples", 6, "--output", tmp_path / "some.npz") == 0
    written = np.load(tmp_path / "some.npz")
    np.testing.assert_allclose(written["images"], data.domains("test")[0].x[:6], atol=1e-6)
    assert np.abs(written["translations"] - (1 - written["images"])).mean() < LIMIT
    ask(learner, learner.cfg, "--samples", 6, "--output", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 2.5 * picture.height  # two rows of six


def test_figures(translator):
    learner, data = translator
    evaluation = learner.evaluate(data, "test")
    names = [name for name, _ in figures(learner, data, evaluation)]
    assert names == ["learning_curves", "A_to_B", "B_to_A", "animation"]
