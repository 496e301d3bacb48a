"""Every generative model YAML, found by glob: it runs, and what is saved predicts and draws the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mlrun.networks.generative.discriminators import ConvDiscriminator, DenseDiscriminator
from mlrun.networks.generative.encoders import ConvEncoder, DenseEncoder
from mlrun.networks.generative.generators import ConvGenerator, DenseGenerator
from mlrun.predictions.learner import load_learner
from mlrun.report.view import figures
from mlrun.tracking.store import open_client, tracking_uri
from tests.test_models import BODIES, trained

TASKS = ("mlrun.tasks.gan.", "mlrun.tasks.vae.", "mlrun.tasks.autoencoder.")
NAMES = [name for name, body in BODIES.items() if str(body.get("_target_")).startswith(TASKS)]


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_predicts_and_draws_the_same(name, tmp_path):
    learner, data = trained(tmp_path, f"model={name}", "trainer.max_epochs=2", "model.show_every=1")
    learner.save(tmp_path / "model")
    loaded = load_learner(tmp_path / "model")
    examples = data.examples("test")
    predictions = learner.predict(examples).answers()
    assert len(predictions) == len(examples)
    # trained, channels lie last
    close = dict(rtol=1e-4, atol=1e-5) if "conv" in str(BODIES[name]).lower() else dict(rtol=0, atol=0)
    np.testing.assert_allclose(predictions, loaded.predict(examples).answers(), **close)
    if "autoencoder" not in name:
        samples = loaded.task.draw(20, seed=5)[0]
        torch.testing.assert_close(learner.task.draw(20, seed=5)[0], samples, **close)
        assert list(samples.shape[1:]) == learner.preprocessor.spec["input_shape"]
        assert not torch.equal(samples, loaded.task.draw(20, seed=6)[0])
    evaluation = learner.evaluate(data, "test")
    assert np.isfinite(list(evaluation.metrics.values())).all()
    assert evaluation.metrics.keys() <= learner.directions.keys()
    names = [figure for figure, _ in figures(learner, data, evaluation)]
    assert "animation" in names and len(names) == len(set(names))
    assert ("vectors" in names) == ("vae" in name or "autoencoder" in name)  # the codes of the test rows
    pictures = sorted((tmp_path / "figures").glob("*_epoch_*.png"))
    prefix = "restored" if "autoencoder" in name else "samples"
    assert [path.stem for path in pictures] == [f"{prefix}_epoch_0001", f"{prefix}_epoch_0002"]
    for path in pictures:
        with Image.open(path) as drawn:  # below its title and above its caption
            assert drawn.width >= 600 and drawn.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("classes", [0, 4])
def test_networks_on_their_own(shape, classes):
    label = torch.arange(6) % 4 if classes else None
    for generator in (DenseGenerator(shape, 5, classes), ConvGenerator(shape, 5, classes, channels=[16, 8])):
        made = generator(torch.randn(6, 5), label)
        assert made.shape == (6, *shape)
        for discriminator in (
            DenseDiscriminator(shape, classes, spectral_norm=True),
            ConvDiscriminator(shape, classes, norm="layer"),
        ):
            assert discriminator(made, label).shape == (6,)
        if classes:  # the class matters, and must be said
            assert not torch.equal(
                generator.eval()(torch.ones(6, 5), label), generator(torch.ones(6, 5), label.flip(0))
            )
            with pytest.raises(ValueError, match="4 classes"):
                generator(torch.randn(6, 5))
    for encoder in (DenseEncoder(shape, 5), ConvEncoder(shape, 5, channels=[8])):
        assert [part.shape for part in encoder(torch.randn(6, *shape))] == [(6, 5), (6, 5)]


@pytest.mark.parametrize("preset", ["dcgan_gpu", "diffusion_gpu"])
def test_presets_for_a_gpu_take_a_step_on_a_cpu(preset, fashion_mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("MLRUN_DATA_DIR", str(fashion_mnist))
    small = [
        "dataset.split.train=10",
        "dataset.split.val=10",
        "dataset.batch_size=2",
        "trainer.fast_dev_run=true",
        "trainer.accelerator=cpu",
    ]
    few = ["model.sampling_steps=1"] if preset == "diffusion_gpu" else []
    learner, _ = trained(tmp_path, f"experiment=fashion_mnist/{preset}", *small, *few)
    assert learner.trainer.global_step >= 1 and learner.trainer.precision == "bf16-mixed"
    assert learner.task.draw(2, seed=0)[0].shape == (2, 1, 32, 32)


def test_spectral_normalization():
    discriminator = DenseDiscriminator([20], 0, hidden=[30], spectral_norm=True)
    for _ in range(50):
        discriminator(torch.randn(4, 20))
    assert torch.linalg.matrix_norm(discriminator.body[0].weight, 2).item() == pytest.approx(1, abs=0.02)


def test_the_reference_classifier_is_a_run_that_seeds_share(experiment, workplace):
    results = [experiment("model=conditional_vae", "trainer.max_epochs=1", f"seed={seed}") for seed in (1, 2)]
    (file,) = (workplace / "outputs" / "reference_classifiers").glob("*/classifier.json")
    record = json.loads(file.read_text())
    assert record["accuracy"] >= 0.86
    # for every seed that of rows which the classifier has never seen, whatever the split of the run
    assert [result.metrics["test/reference_accuracy"] for result in results] == [record["accuracy"]] * 2
    client = open_client(tracking_uri())
    assert {client.get_run(result.run_id).data.tags["reference_classifier"] for result in results} == {record["run"]}
    assert client.get_run(record["run"]).data.tags["model"] == "cnn"
