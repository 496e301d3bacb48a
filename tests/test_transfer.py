"""Transfer: weights from elsewhere, frozen parts, gradual unfreezing, learning rates of parts."""

from __future__ import annotations

import pytest
import torch

from mlrun.adapt.adaptation import Adaptation
from mlrun.adapt.steps import Freeze, Start
from mlrun.adapt.target import layers
from mlrun.data.readers.tensors import load_tensors
from mlrun.errors import ConfigError
from mlrun.networks.vision.cnn import CNN
from mlrun.networks.vision.resnet import ResNet
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from tests.test_models import Nobody, prepared, trained

SMALL = ["model=cnn", "model.network.channels=[8,16]", "model.network.hidden=[32]"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = tmp_path_factory.mktemp("source")
    learner, _ = trained(directory, *SMALL, "dataset.classes=[0,1,2,3,4]", "trainer.max_epochs=4")
    learner.save(directory / "model")
    return directory


def started(source, *overrides):
    return make_learner(*prepared(*SMALL, "dataset.classes=[5,6,7]", f"model.init_from={source}", *overrides))


def test_a_head_for_other_classes_is_drawn_anew_and_the_rest_is_loaded(source, capsys):
    learner = started(source)
    stored = load_tensors(source / "model" / "weights.safetensors")
    for name, tensor in learner.task.state_dict().items():
        assert torch.equal(tensor, stored[name]) == (not name.startswith("network.head")), name
    assert learner.task.network.head.out_features == 3
    assert "2 of another shape, initialized at random: head.weight, head.bias" in capsys.readouterr().err


def test_a_head_for_as_many_other_classes_is_drawn_anew_too(source, capsys):
    other = make_learner(*prepared(*SMALL, "dataset.classes=[5,6,7,8,9]", f"model.init_from={source}"))
    assert "2 for other classes" in capsys.readouterr().err
    same = make_learner(*prepared(*SMALL, "dataset.classes=[0,1,2,3,4]", f"model.init_from={source}"))
    stored = load_tensors(source / "model" / "weights.safetensors")["network.head.weight"]
    assert torch.equal(same.task.network.head.weight, stored) and not torch.equal(
        other.task.network.head.weight, stored
    )


@pytest.mark.parametrize("file", ["model", "model/weights.safetensors", "checkpoints/best.ckpt"])
def test_sources_of_weights(source, file):
    learner = started(source / file)
    assert learner.task.network.body[0].weight.shape == (8, 1, 3, 3)


def test_weights_of_a_bare_network(tmp_path):
    network = CNN([1, 8, 8], 3)
    torch.save(network.state_dict(), tmp_path / "bare.pt")
    holder = torch.nn.Module()
    holder.network = CNN([1, 8, 8], 3)
    start = Start(str(tmp_path / "bare.pt"))
    Adaptation([start]).apply(holder)
    report = start.loaded
    assert len(report.loaded) == len(network.state_dict()) and not report.absent and not report.unused
    assert torch.equal(holder.network.head.weight, network.head.weight)


def test_only_some_parts(source, capsys):
    learner = started(source, "model.init_only=[body]")
    stored = load_tensors(source / "model" / "weights.safetensors")
    same = {name for name, tensor in learner.task.state_dict().items() if torch.equal(tensor, stored[name])}
    assert {name.split(".")[1] for name in same} == {"body"} and "network.body.4.weight" in same
    said = capsys.readouterr().err
    assert "4 outside model.init_only, initialized at random: classifier.0.weight" in said and "not in" not in said
    with pytest.raises(
        ConfigError, match=r"model.init_only: no part is named tail \(parts are body, classifier, head\)"
    ):
        started(source, "model.init_only=[tail]")
    with pytest.raises(ConfigError, match=r"none of its .* within model.init_only=\[head\]"):
        started(source, "model.init_only=[head]")


def test_sources_that_do_not_fit_are_refused(source, tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        started(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="none of its"):
        make_learner(*prepared("model=mlp", "model.network.hidden=[7]", f"model.init_from={source}"))


def test_torchvision_is_asked_for_in_words():
    try:
        import torchvision.models  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"pip install 'mlrun\[vision\]'"):
            started("torchvision:resnet18")


def fitted(learner, data, directory):
    before = {name: tensor.clone() for name, tensor in learner.task.state_dict().items()}
    learner.fit(data, Nobody(), directory, silent.Progress())
    return {name for name, tensor in learner.task.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize(
    "freeze, moving",
    [("all_but_head", ("head",)), ("first_2", ("classifier", "head")), ("none", ("body", "classifier", "head"))],
)
def test_frozen_parts_stay_as_they_are_norm_statistics_included(source, tmp_path, capsys, freeze, moving):
    cfg, data = prepared(
        *SMALL,
        "dataset.classes=[5,6,7]",
        f"model.init_from={source}",
        f"model.freeze={freeze}",
        "trainer.max_epochs=1",
        "trainer.keep=last",
    )
    learner, reached = make_learner(cfg, data), set()
    for name, parameter in learner.task.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient, name=name: reached.add(name))
    changed = fitted(learner, data, tmp_path)
    assert {name.split(".")[1] for name in changed} == {name.split(".")[1] for name in reached} == set(moving)
    still = sum(p.numel() for name, p in learner.task.named_parameters() if name not in reached)
    said = capsys.readouterr().err
    assert (f"{still:,} of 3,451 parameters frozen: body.0, body.1" in said) == (freeze != "none")


def test_gradual_unfreezing(tmp_path):
    cfg, data = prepared(
        *SMALL, "model.freeze=all_but_head", "model.unfreeze_every=1", "trainer.keep=last", "trainer.max_epochs=2"
    )
    changed = fitted(make_learner(cfg, data), data, tmp_path)
    assert {name.split(".")[1] for name in changed} == {"classifier", "head"}
    cfg["trainer"]["max_epochs"] = 4
    changed = fitted(make_learner(cfg, data), data, tmp_path)
    assert {name.split(".")[1] for name in changed} == {"body", "classifier", "head"}


def test_learning_rates_of_parts(tmp_path):
    cfg, data = prepared(
        *SMALL,
        "model.lr_scale={body: 0.1, body.0: 0, head: 2}",
        "optim.lr=0.01",
        "trainer.max_epochs=1",
        "trainer.keep=last",
    )
    learner = make_learner(cfg, data)
    changed = fitted(learner, data, tmp_path)
    groups = learner.trainer.optimizers[0].param_groups
    assert sorted(group["lr"] for group in groups) == pytest.approx([0, 0.001, 0.01, 0.02])
    assert sum(len(group["params"]) for group in groups) == len(list(learner.task.parameters()))
    assert "network.body.0.weight" not in changed and "network.body.4.weight" in changed
    with pytest.raises(ConfigError, match="lr_scale.tail.*body, classifier, head"):
        make_learner(*prepared(*SMALL, "model.lr_scale={tail: 1}"))


def test_freezing_and_learning_rates_of_several_networks(tmp_path):
    cfg, data = prepared(
        "model=vae", "scheduler=none", "model.freeze=[encoder.first_1]", "model.lr_scale={decoder: 0.1}", "optim.lr=0.01",
        "dataset.split.train=64", "trainer.max_epochs=1", "trainer.keep=last",
    )  # fmt: skip
    learner = make_learner(cfg, data)
    changed = fitted(learner, data, tmp_path)
    still = set(learner.task.state_dict()) - changed
    assert still == {name for name in still if name.startswith("encoder.")} and len(still) == 2
    groups = learner.trainer.optimizers[0].param_groups
    assert sorted(group["lr"] for group in groups) == pytest.approx([0.001, 0.01])
    assert learner.recipe["adaptation"] == [
        {"freeze": {"parts": ["encoder.first_1"]}},
        {"learning_rates": {"multiples": {"decoder": 0.1}}},
    ]


def test_freezing_and_learning_rates_of_a_gan_with_two_optimizers(tmp_path):
    cfg, data = prepared(
        "model=gan", "scheduler=none", "model.adapt=[{freeze: discriminator.first_1}, {learning_rates: {discriminator: 0.5, generator.layers.0: 0}}]",
        "model.discriminator_lr=0.004", "optim.lr=0.01", "dataset.split.train=64", "trainer.max_epochs=1", "trainer.keep=last",
    )  # fmt: skip
    learner = make_learner(cfg, data)
    changed = fitted(learner, data, tmp_path)
    still = {name for name in learner.task.state_dict() if name not in changed and name.partition(".")[0] != "ema"}
    frozen = {name for name, parameter in learner.task.named_parameters() if not parameter.requires_grad}
    assert {name for name in frozen if not name.startswith("ema.")} <= still
    assert {name for name in still if name.startswith("generator.")} == {
        "generator.layers.0.weight",
        "generator.layers.0.bias",
    }
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in learner.trainer.optimizers]
    assert sorted(rates[0]) == pytest.approx([0, 0.01]) and rates[1] == pytest.approx([0.002])


def test_learning_rates_and_no_decay_of_a_language_model_multiply(tmp_path):
    cfg, data = prepared(
        "model=gpt", "model.lr_scale={embedding: 0.5}", "optim=adamw", "optim.lr=0.01", "optim.weight_decay=0.1",
        "model.network.layers=1", "model.network.width=16", "model.network.bias=true",
    )  # fmt: skip
    task = make_learner(cfg, data).task
    groups = task.adaptation.parameter_groups(task, 0.01, steps=task.own_steps())
    found = {
        (group["lr"], group["weight_decay"]): {parameter.ndim for parameter in group["params"]}
        for group in task.optimization.optimizer(groups).param_groups
    }
    assert found == {(0.01, 0.1): {2}, (0.01, 0.0): {1}, (0.005, 0.1): {2}}


def test_layers_and_their_names():
    network = ResNet([1, 8, 8], 3, depth=8)
    assert len(layers(network)) == 1 + 6 + 2 + 1  # stem, three blocks of two, two projections, head
    assert all(len(layer) == 2 for layer in layers(network)[:-1]), "a convolution and its norm"
    holder = torch.nn.Module()
    holder.network = network
    with pytest.raises(ConfigError, match="first_N"):
        Adaptation([Freeze("half")]).apply(holder)
    with pytest.raises(ConfigError, match="10 layers"):
        Adaptation([Freeze("first_10")]).apply(holder)


def test_the_presets(tmp_path):
    with pytest.raises(ConfigError, match="model.init_from=RUN_OF_TRANSFER_SOURCE: no such file"):
        make_learner(*prepared("experiment=transfer"))
    first, _ = trained(tmp_path / "a", "experiment=transfer_source", "trainer.max_epochs=8")
    first.save(tmp_path / "a" / "model")
    second, data = trained(tmp_path / "b", "experiment=transfer", f"model.init_from={tmp_path / 'a'}")
    assert data.target.classes == [5, 6, 7, 8, 9]
    assert second.evaluate(data, "test").metrics["accuracy"] >= 0.6  # the worst of five seeds 0.972, by chance 0.2


def test_a_language_model_starts_with_the_vocabulary_of_its_source(tmp_path):
    """Texts of as many different letters: every weight has the same shape, and belongs to other letters."""
    for name, letters in (("first", "abcdefgh"), ("second", "stuvwxyz")):
        lines = [" ".join(letters[i % 8 :] + letters[: i % 8]) for i in range(200)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    small = ["model=window_lm", "model.network.hidden=8", "dataset.tokenizer.kind=characters", "trainer.max_epochs=1"]
    learner, _ = trained(tmp_path / "run", *small, f"dataset.path={tmp_path / 'first.txt'}")
    learner.save(tmp_path / "run" / "model")
    second = [*small, f"dataset.path={tmp_path / 'second.txt'}", f"model.init_from={tmp_path / 'run'}"]
    other = make_learner(*prepared(*second))
    assert other.preprocessor.tokenizer.vocabulary == learner.preprocessor.tokenizer.vocabulary
    assert torch.equal(other.task.network.embedding.weight, learner.task.network.embedding.weight)
    with pytest.raises(ConfigError, match="the same size as this one .*but different tokens.*embedding.weight"):
        make_learner(*prepared(*second, "+model.inherit_preprocessor=false"))


def test_an_mlflow_run_as_source(experiment):
    result = experiment("model=mlp", "model.network.hidden=[8]", "trainer.max_epochs=1", "dataset.classes=[0,1,2]")
    small = ["model=mlp", "model.network.hidden=[8]"]
    same = make_learner(*prepared(*small, "dataset.classes=[0,1,2]", f"model.init_from={result.run_id}"))
    other = make_learner(*prepared(*small, "dataset.classes=[3,4,5]", f"model.init_from={result.run_id}"))
    weights = [learner.task.state_dict() for learner in (same, other)]
    assert torch.equal(weights[0]["network.body.0.weight"], weights[1]["network.body.0.weight"])
    assert not torch.equal(weights[0]["network.head.weight"], weights[1]["network.head.weight"]), (
        "the recipe is found too"
    )
    assert same.recipe["adaptation"] == [{"start": {"source": result.run_id}}]
    with pytest.raises(ConfigError, match="there is no such run"):
        make_learner(*prepared(*small, f"model.init_from={'0' * 32}"))
