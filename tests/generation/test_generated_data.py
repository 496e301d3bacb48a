"""`augment=generated`: training images of each class from a generative run, which must not have seen validation or test rows."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mlrun.config.compose import compose
from mlrun.data.datasets.images import Digits
from mlrun.data.digest import image_digests
from mlrun.data.readers.tensors import load_tensors
from mlrun.errors import ConfigError, DataError, UserError
from mlrun.experiment.generated import FILE, extend
from mlrun.experiment.run import run
from mlrun.report import silent
from mlrun.tasks.generation import Generation
from mlrun.tracking.read import read_run
from tests.generation.conftest import Stops
from tests.test_models import Nobody, prepared

SPLIT = ["dataset.split.train=60", "dataset.split.val=40", "dataset.split.test=100"]
QUICK = ["trainer.max_epochs=1", "trainer.threads=1", "model.figures=[]"]
UNMEASURED = ["model.evaluators=[]"]
MODELS = {
    "conditional_vae": [*UNMEASURED, "model.decoder.hidden=[8]", "model.encoder.hidden=[8]"],
    "conditional_gan": ["model.generator.channels=[8,8]", "model.discriminator.channels=[8,8]"],
    "vae": UNMEASURED,
    "naive_bayes": ["dataset=digits"],
    "diffusion": [*UNMEASURED, "model.sampling_steps=2", "model.network.channels=[8,8]"],
}
CLASSIFIER = ["model=linear", *SPLIT, "augment=generated", "augment.share=0.5"]


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    """Trains a generative model once, by default on the rows of seed 1, and gives the directory of its run."""
    folder, done = tmp_path_factory.mktemp("generators"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)

        def train(name, *overrides):
            if (name, overrides) not in done:
                patch.chdir(folder)
                given = [f"model={name}", *SPLIT, *QUICK, *MODELS.get(name, ()), *overrides]
                done[name, overrides] = run(compose(given), folder / f"run{len(done)}", given, report=silent).directory
            return done[name, overrides]

        yield train


@pytest.fixture
def extended(tmp_path):
    """Data of a classifier with generated images, its configuration, and what was recorded: `extended(run, ...)`."""

    def make(directory, *overrides):
        cfg, data = prepared(*CLASSIFIER, f"augment.run={directory}", *overrides)
        tags = {}
        extend(data, cfg, tmp_path, SimpleNamespace(tags=tags.update), resumes=False)
        return data, cfg, tags

    return make


@pytest.mark.parametrize("name", ["conditional_vae", "conditional_gan", "diffusion"])
def test_each_class_gets_its_share_and_only_training_grows(name, generator, extended):
    _, plain = prepared(*CLASSIFIER[:-2])
    data, _, tags = extended(generator(name))
    real = plain.examples("train")
    images, labels = data.examples("train")["image"], data.examples("train")["label"]
    np.testing.assert_array_equal(images[:60], real["image"])
    np.testing.assert_array_equal(labels[:60], real["label"])
    counts = np.bincount(real["label"])
    np.testing.assert_array_equal(np.bincount(labels[60:]), np.floor(counts / 2 + 0.5))
    made = images[60:]
    assert made.shape[1:] == (1, 8, 8) and made.min() >= 0 and 1 < made.max() <= 16  # not from 0 to 1, nor from -1 to 1
    for part in ("val", "test"):
        np.testing.assert_array_equal(data.examples(part)["image"], plain.examples(part)["image"])
    assert data.digest == plain.digest
    assert tags["generator"] == read_run(tags["generator"]).run_id  # the id in MLflow, not the directory


def test_the_same_seed_draws_the_same_images(generator, extended):
    directory = generator("conditional_vae")
    first, again = (extended(directory, "augment.share=1")[0].content.columns["image"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    no_split = ["dataset.split.val=0", "dataset.split.test=0", "dataset.split.seed=1"]  # nothing that could leak
    one, other = (extended(directory, *no_split, f"seed={seed}")[0].content.columns["image"][1797:] for seed in (1, 2))
    assert one.shape == other.shape and not np.array_equal(one, other)


@pytest.fixture
def photos(tmp_path):
    """Makes a folder of ten small images per class, and gives the overrides that select it."""

    def make(*classes, side=8, **split):
        for name in classes:
            (tmp_path / "photos" / name).mkdir(parents=True)
            for number in range(10):
                Image.new("L", (side, side), 10 * number).save(tmp_path / "photos" / name / f"{number}.png")
        folder = ["dataset=image_folder", f"dataset.path={tmp_path / 'photos'}", "dataset.grey=true"]
        return [*folder, f"dataset.side={side}", *(f"dataset.split.{part}={rows}" for part, rows in split.items())]

    return make


def test_classes_are_matched_by_name_and_bytes_stay_bytes(generator, extended, photos, monkeypatch):
    def draw(self, count, seed, labels):  # images as bright as their class is high
        return (labels / 10).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone(), labels

    monkeypatch.setattr(Generation, "draw", draw)
    data, _, _ = extended(generator("conditional_vae"), *photos("2", "4", train=20, val=0, test=0))
    made, labels = (data.examples("train")[name][20:] for name in ("image", "label"))
    assert made.dtype == np.uint8 and labels.tolist() == 5 * [0] + 5 * [1]
    for place, name in enumerate((2, 4)):
        assert np.unique(made[labels == place]) == 255 * name // 10


# --- leakage ---------------------------------------------------------------------------------------------------------


def test_a_generator_that_has_seen_held_out_rows_is_refused(generator, extended):
    directory = generator("conditional_vae")  # of the split of seed 1
    _, theirs = prepared(*CLASSIFIER[:-2])
    _, own = prepared(*CLASSIFIER[:-2], "seed=2")
    held_out = np.concatenate([own.rows("val"), own.rows("test")])
    leaked = len(np.intersect1d(theirs.rows("train"), held_out))
    assert 0 < leaked < 60
    with pytest.raises(ConfigError, match=f"trained on {leaked} of the rows .* validated or tested.* seed=2"):
        extended(directory, "seed=2")
    with pytest.raises(ConfigError, match="trained on 60 of the rows"):  # another seed, the same split, other parts
        extended(directory, "dataset.split.train=600", "dataset.split.val=0", "dataset.split.test=null")


def test_what_a_generator_started_from_counts_too(generator, extended):
    leaky = generator("conditional_vae", "seed=2")
    clean = generator("conditional_vae", f"model.init_from={leaky}")
    with pytest.raises(ConfigError, match=f"trained, by way of {leaky}, on .* validated or tested"):
        extended(clean)


def test_an_image_that_the_training_part_has_too_is_no_leak(generator, monkeypatch, tmp_path):
    directory = generator("conditional_vae")
    cfg, data = prepared(*CLASSIFIER, f"augment.run={directory}")
    pixels = data.content.columns["image"]
    pixels[data.rows("test")[0]] = pixels[data.rows("train")[0]]
    extend(data, cfg, tmp_path, Nobody(), resumes=False)


def test_rows_that_the_classifier_does_not_learn_from_are_reported(generator, extended, capsys):
    extended(generator("conditional_vae"), "dataset.split.train=30")
    assert "was trained on 30 images besides the 30 real ones of this run" in capsys.readouterr().err


def test_data_that_changed_since_are_refused(generator, extended, monkeypatch):
    directory, read = generator("conditional_vae"), Digits.read

    def brighter(self):
        content = read(self)
        content.columns["image"] = content.columns["image"] + 1
        return content

    monkeypatch.setattr(Digits, "read", brighter)
    with pytest.raises(ConfigError, match=f"training rows of {directory} are not known, because digits has changed"):
        extended(directory)


def test_the_same_picture_has_the_same_digest():
    pixels = np.arange(128).reshape(2, 1, 8, 8) % 17
    as_bytes = np.rint(pixels * (255 / 16)).astype(np.uint8)
    digests = image_digests(pixels.astype(np.float64), 16)
    assert digests == image_digests(as_bytes, 255) == image_digests(as_bytes[:, ::-1], 255) and len(set(digests)) == 2


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, overrides, message",
    [
        ("naive_bayes", [], "a run of naive_bayes, which draws no images; give a run of model=conditional_gan"),
        ("vae", [], "vae does not draw images of a given class; give a run of a conditional model"),
        ("conditional_vae", ["trainer=kfold"], "with trainer=kfold every fold has other training rows"),
        (
            "conditional_vae",
            ["dataset=iris", "dataset.split.test=20"],
            "iris does not consist of images of one size with a class each",
        ),
    ],
)
def test_runs_and_data_that_do_not_suit_are_refused(model, overrides, message, generator, extended):
    with pytest.raises(ConfigError, match=message):
        extended(generator(model), *overrides)


def test_other_sizes_and_classes_are_refused(generator, extended, photos):
    directory, split = generator("conditional_vae"), dict(train=6, val=6, test=6)
    with pytest.raises(ConfigError, match="images of 1 x 8 x 8, and those of .* are of 1 x 16 x 16"):
        extended(directory, *photos("3", "4", side=16, **split))
    with pytest.raises(ConfigError, match="does not know the class three of .*; it knows 0, 1, 2"):
        extended(directory, *photos("three", **split))


def test_images_that_are_not_held_in_memory_are_refused(generator, extended, photos):
    folder = photos("3", "4", train=6, val=6, test=6)
    with pytest.raises(DataError, match="held in memory .*; raise dataset.resident_limit"):
        extended(generator("conditional_vae"), *folder, "dataset.resident_limit=1")


def test_a_run_that_does_not_exist_is_refused(extended, workplace):
    with pytest.raises(UserError, match="elsewhere: neither a run directory nor a finished run"):
        extended("elsewhere")


# --- a whole run -----------------------------------------------------------------------------------------------------


def test_a_run_records_its_generator_and_resumes_exactly(generator, workplace):
    shutil.copytree(generator("conditional_vae"), workplace / "generator")
    overrides = ["model=mlp", "model.network.hidden=[8]", *CLASSIFIER[1:], "augment.run=generator", *QUICK[1:3]]
    overrides.append("trainer.max_epochs=4")
    shown = {}
    watching = SimpleNamespace(**vars(silent))
    watching.config_summary = lambda cfg, overrides, **facts: shown.update(facts)
    whole = run(compose(overrides), workplace / "whole", overrides, report=watching)
    assert shown["sizes"] == {"train + 30 generated": 60, "val": 40, "test": 100}
    stored = read_run(whole.run_id)
    assert stored.tags["generator"] and stored.params["augment.share"] == "0.5"
    assert "- generated: 30 images by generator, 0.5 per real one of each class" in stored.tags["mlflow.note.content"]
    watching.Progress = lambda: Stops(2)
    with pytest.raises(RuntimeError, match="stopped"):
        run(compose(overrides), workplace / "stopped", overrides, report=watching)
    shutil.rmtree(workplace / "generator")  # the images are kept
    checkpoint = workplace / "stopped" / "checkpoints" / "last.ckpt"
    resumed = run(compose(overrides), workplace / "stopped", overrides, report=silent, resume=checkpoint)
    assert resumed.metrics == whole.metrics
    one, other = (load_tensors(workplace / name / "model" / "weights.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    (workplace / "stopped" / FILE).write_bytes(b"")
    with pytest.raises(UserError, match="generated.npz is damaged"):
        run(compose(overrides), workplace / "stopped", overrides, report=silent, resume=checkpoint)
