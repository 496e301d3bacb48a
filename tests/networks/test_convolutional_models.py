"""The convolutional models through the runner: they learn, save and predict; mixed labels and auxiliary heads; a broken one is noticed."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mlrun.config.compose import CONF, compose
from mlrun.data.batches import Batch
from mlrun.networks.vision.googlenet import GoogLeNet
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from mlrun.report.view import figures
from mlrun.tasks.supervised import Supervised
from tests.data.through import spec
from tests.test_models import Nobody, prepared, trained

TINY = {  # sizes at which a single epoch takes a second
    "lenet": [],
    "alexnet": ["model.network.channels=[8,8,8,8,8]", "model.network.hidden=32"],
    "vgg": ["model.network.width=0.03125"],
    "nin": ["model.network.widths=[[8,8],[8,8]]", "model.network.head_widths=[8]"],
    "googlenet": ["model.network.width=0.03125"],
    "resnet": ["model.network.depth=8", "model.network.width=4"],
    "densenet": ["model.network.blocks=[2,2]", "model.network.growth=4"],
    "cnn": ["model.network.channels=[8,8]", "model.network.hidden=[16]"],
    "series_fcn": ["model.network.channels=[4,4,4]", "dataset.rows=90"],
    "series_resnet": ["model.network.channels=[4,4,4]", "dataset.rows=90"],
    "cnn3d": ["model.network.channels=[4,4]", "dataset.rows=90"],
}


@pytest.mark.parametrize("name", TINY)
def test_a_saved_network_predicts_the_same(name, tmp_path):
    learner, data = trained(tmp_path, f"model={name}", *TINY[name], "trainer.max_epochs=1")
    learner.save(tmp_path / "model")
    x = data.examples("test").take(slice(0, 20))
    predicted = load_learner(tmp_path / "model").predict(x).answers()
    np.testing.assert_array_equal(learner.predict(x).answers(), predicted)
    with torch.inference_mode():
        loader = data.loader("test", learner.preprocessor)
        shown = torch.cat([learner.task.predict(batch)["probabilities"] for batch in loader])[:20]
    np.testing.assert_array_equal(np.asarray(data.target.classes)[shown.argmax(1)], predicted)  # resizing included
    layers = (tmp_path / "figures" / "layers.txt").read_text()
    assert f"{learner.training.parameters:,}" in layers.splitlines()[-1]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_small_network_learns_digits_and_needs_its_gradient(seed, tmp_path):
    options = ["model=cnn", "trainer.max_epochs=5", f"seed={seed}"]
    learner, data = trained(tmp_path / "whole", *options)
    assert (
        learner.evaluate(data, "test").metrics["accuracy"] >= 0.86
    )  # worst of ten seeds 0.958, without the gradient at best 0.760
    cfg, data = prepared(*options)
    broken = make_learner(cfg, data)
    network = broken.task.network
    network.forward = lambda x: network.head(network.classifier(network.body(x)).detach())
    broken.fit(data, Nobody(), tmp_path / "broken", silent.Progress())
    assert broken.evaluate(data, "test").metrics["accuracy"] < 0.86


def test_three_dimensions_and_series_learn(tmp_path):
    learner, data = trained(tmp_path / "a", "model=series_fcn", "trainer.max_epochs=4")
    assert (
        learner.evaluate(data, "test").metrics["accuracy"] >= 0.72
    )  # worst of five seeds 0.978, with shuffled labels 0.472
    learner, data = trained(
        tmp_path / "b",
        "model=cnn3d",
        "dataset=moving_squares",
        "dataset.rows=500",
        "dataset.noise=0.1",
        "trainer.max_epochs=8",
    )
    assert learner.evaluate(data, "test").metrics["accuracy"] >= 0.57  # 0.92 and 0.22


@pytest.mark.parametrize("augment", ["crop_flip", "affine", "strong", "degrade", "fancy_pca", "mixup", "cutmix"])
def test_every_augmentation_trains_and_is_shown(augment, tmp_path):
    learner, data = trained(tmp_path, "model=cnn", *TINY["cnn"], f"augment={augment}", "trainer.max_epochs=1")
    assert 0 < learner.training.history["train/loss"][0][1] < 4
    drawn = figures(learner, data, learner.evaluate(data, "test"))
    assert {"augmented", "filters", "feature_maps", "grad_cam"} <= {name for name, _ in drawn}


def test_images_come_at_the_size_that_the_model_asks_for_or_the_user():
    def shape(*overrides):
        return spec(prepared(*overrides)[1])["image_shape"]

    assert shape("model=cnn") == [1, 8, 8] and shape("model=vgg") == [1, 32, 32]
    assert shape("model=vgg", "dataset.image_size=40") == [1, 40, 40]


def task(network=None, **options):
    return Supervised(network or torch.nn.Linear(4, 3), "label", 1.0, **options)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_shares_of_classes_are_the_mixture_of_both_losses(loss):
    supervised, x = task(loss=loss), torch.randn(6, 4)
    scores, a, b = supervised.network(x), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1, 1, 0, 0, 2, 2])
    hard = supervised.criterion(scores, a)
    torch.testing.assert_close(supervised.criterion(scores, F.one_hot(a, 3).float()), hard)
    if loss == "cross_entropy":
        mixed = 0.7 * F.one_hot(a, 3).float() + 0.3 * F.one_hot(b, 3).float()
        torch.testing.assert_close(
            supervised.criterion(scores, mixed), 0.7 * hard + 0.3 * supervised.criterion(scores, b)
        )


def test_auxiliary_heads_add_their_losses_and_are_not_measured():
    supervised = task(GoogLeNet([1, 16, 16], 3, width=0.0625, auxiliary=True, dropout=0.0))
    x, y = torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])
    torch.manual_seed(0)
    scores = supervised.network(x)
    torch.manual_seed(0)
    loss = supervised.loss(Batch(pixel_values=x, labels=y))
    losses = [F.cross_entropy(s, y) for s in scores]
    torch.testing.assert_close(loss.value, losses[0] + 0.3 * (losses[1] + losses[2]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss.sums["loss"], losses[0].detach() * 4, atol=1e-4, rtol=1e-4)


def classifies(preset):
    model = re.search(r"override /model: (\w+)", preset.read_text())[1]
    return "supervised.Supervised" in (CONF / "model" / f"{model}.yaml").read_text()


PRESETS = sorted(path.stem for path in (CONF / "experiment" / "fashion_mnist").glob("*.yaml") if classifies(path))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fit_their_networks(preset):
    """Every argument exists and the layers fit the images, found without weights or data."""
    from mlrun.config.instantiate import build, plain
    from mlrun.config.validate import validate
    from mlrun.networks.layers.shapes import output_shape

    cfg = compose([f"experiment=fashion_mnist/{preset}"])
    errors, _ = validate(cfg, [f"experiment=fashion_mnist/{preset}"])
    assert not errors
    cfg = plain(cfg)
    side = cfg["dataset"]["image_size"] or 28
    with torch.device("meta"):
        network = build(
            cfg["model"]["network"], {"image_shape": [1, side, side], "input_shape": [1, side, side], "num_outputs": 10}
        )
    assert output_shape(network, [1, side, side]) == (10,)
