"""Adaptation: steps from the configuration, on tasks with one network and with several, in any combination."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from mlrun.adapt.adaptation import Adaptation
from mlrun.adapt.sources import classes_of
from mlrun.adapt.steps import Freeze, LearningRates, NoDecay, Start
from mlrun.adapt.target import Target, layers, matches, without_gradients
from mlrun.adapt.vocabulary import misleading_sizes, same_vocabulary, source_preprocessor, vocabularies
from mlrun.data.readers.tensors import WEIGHTS, write_tensors
from mlrun.errors import ConfigError

TOKENS = ["<pad>", "<unk>", "<bos>", "<eos>"]


class Network(nn.Module):
    """A body of two linear layers with norms, and a head."""

    def __init__(self, inputs: int = 4, outputs: int = 3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, 5), nn.BatchNorm1d(5), nn.Linear(5, 5), nn.LayerNorm(5))
        self.head = nn.Linear(5, outputs)


def task(**networks: nn.Module) -> nn.Module:
    holder = nn.Module()
    for name, network in networks.items():
        setattr(holder, name, network)
    return holder


def single() -> nn.Module:
    return task(network=Network())


def pair() -> nn.Module:
    """As a GAN with a moving average: two networks and a copy that is not trained."""
    holder = task(generator=Network(2, 4), discriminator=Network(4, 1))
    holder.ema = Network(2, 4).requires_grad_(False)
    holder.register_buffer("ema_steps", torch.zeros((), dtype=torch.int64))
    return holder


def frozen(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if not parameter.requires_grad}


def names(module: nn.Module, group: dict) -> list[str]:
    by_id = {id(parameter): name for name, parameter in module.named_parameters()}
    return [by_id[id(parameter)] for parameter in group["params"]]


# --- the configuration ---------------------------------------------------------------------------------------------


def test_steps_come_from_the_single_keys_then_from_the_list():
    adaptation = Adaptation.from_config(
        {
            "init_from": "RUN", "init_only": ["body"], "freeze": "first_1", "unfreeze_every": 2, "lr_scale": {"head": 10},
            "adapt": [{"learning_rates": {"body": 0.1}}, {"no_decay": True}, {"freeze": {"parts": ["body.0"]}}],
        }
    )  # fmt: skip
    assert adaptation.steps == [
        Start("RUN", ["body"]),
        Freeze("first_1", 2),
        LearningRates({"head": 10}),
        LearningRates({"body": 0.1}),
        NoDecay(),
        Freeze(["body.0"]),
    ]
    assert adaptation.sources == ["RUN"]


@pytest.mark.parametrize(
    "model", [{}, {"freeze": "none", "init_from": None, "unfreeze_every": 2, "lr_scale": None, "adapt": [{"no_decay": False}]}]
)  # fmt: skip
def test_without_adaptation_there_are_no_steps(model):
    assert Adaptation.from_config(model).steps == []


def test_the_record_is_plain_and_gives_the_same_steps():
    steps = [
        {"start": "RUN"},
        {"freeze": {"parts": "first_1", "unfreeze_every": 3}},
        {"learning_rates": {"head": 10}},
        "no_decay",
    ]
    adaptation = Adaptation.from_steps(steps)
    record = json.loads(json.dumps(adaptation.record()))
    assert record[0] == {"start": {"source": "RUN"}} and record[3] == {"no_decay": True}
    assert Adaptation.from_steps(record).steps == adaptation.steps and len(adaptation.steps) == 4


@pytest.mark.parametrize(
    "steps, message",
    [
        ([{"freze": "first_1"}], r"model.adapt\[0\].freze: there is no such step — did you mean 'freeze'\?"),
        ([{"no_decay": True}, {"freeze": "first_1", "start": "RUN"}], r"model.adapt\[1\]=.*one step"),
        ([{"freeze": {"parts": "first_1", "unfreze_every": 1}}], r"\[0\].freeze.unfreze_every.*'unfreeze_every'"),
        ([{"freeze": {"unfreeze_every": 1}}], r"\[0\].freeze: needs parts"),
        ([{"freeze": {"parts": "first_1", "unfreeze_every": 0}}], "unfreeze_every=0: must be an integer >= 1"),
        ([{"freeze": {"parts": "first_1", "unfreeze_every": 1, "epochs": 1}}], "one of unfreeze_every and epochs"),
        ([{"freeze": 3}], "must be a list of names"),
        ([{"start": 3}], r"model.adapt\[0\].start=3: must be text"),
        ([{"learning_rates": {"head": "fast"}}], r"learning_rates.head=fast: must be a number >= 0"),
        ([{"learning_rates": 3}], "must be a mapping"),
        ([{"no_decay": "norms"}], "must be true or false"),
        ({"freeze": "first_1"}, "must be a list of steps"),
    ],
)
def test_what_is_not_a_step_is_refused(steps, message):
    with pytest.raises(ConfigError, match=message):
        Adaptation.from_steps(steps)


# --- freezing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts, expected",
    [
        ("all_but_head", {"body.0", "body.1", "body.2", "body.3"}),
        ("first_1", {"body.0", "body.1"}),
        ("body.2", {"body.2"}),
        (["body.0", "head"], {"body.0", "head"}),
        (["*.[13]"], {"body.1", "body.3"}),
        (["first_1", "head"], {"body.0", "body.1", "head"}),
    ],
)
def test_frozen_parts_of_a_single_network(parts, expected):
    model = single()
    (line,) = Adaptation([Freeze(parts)]).apply(model)
    assert {name.removeprefix("network.").rpartition(".")[0] for name in frozen(model)} == expected
    count = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    assert line == f"{count} of 93 parameters frozen: {', '.join(sorted(expected))}"


def test_frozen_parts_of_several_networks():
    model = pair()
    Adaptation([Freeze(["generator.all_but_head", "discriminator.body.0"])]).apply(model)
    changed = {name for name in frozen(model) if not name.startswith("ema.")}
    assert {name.rpartition(".")[0] for name in changed} == {
        "generator.body.0", "generator.body.1", "generator.body.2", "generator.body.3", "discriminator.body.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    "model, parts, message",
    [
        (
            pair(),
            "all_but_head",
            r"several networks \(generator, discriminator\): name one, e.g. generator.all_but_head",
        ),
        (pair(), "generater.first_1", "no network generater — did you mean 'generator'"),
        (pair(), ["encoder"], r"no part is named encoder.*\(parts are generator, discriminator\)"),
        (pair(), "discriminator.first_3", "Network has 3 layers with weights"),
        (single(), ["bodi"], "did you mean 'body'"),
        (single(), ["body", "head"], "nothing would be left to train"),
        (task(network=nn.Linear(2, 2)), "all_but_head", "Linear has no part called head"),
    ],
)
def test_parts_that_cannot_be_frozen(model, parts, message):
    with pytest.raises(ConfigError, match=message):
        Adaptation([Freeze(parts)]).apply(model)


def test_a_parameter_of_the_task_itself_can_be_frozen():
    model = pair()
    model.log_deviation = nn.Parameter(torch.zeros(()))
    (line,) = Adaptation([Freeze(["log_deviation", "generator.head"])]).apply(model)
    assert {name for name in frozen(model) if not name.startswith("ema")} == {
        "log_deviation", "generator.head.weight", "generator.head.bias",
    }  # fmt: skip
    assert line.endswith("parameters frozen: log_deviation, generator.head")


def test_a_head_that_shares_its_weight_with_the_embedding_stays_trainable():
    network = nn.Module()
    network.embedding, network.body, network.head = nn.Embedding(7, 5), nn.Linear(5, 5), nn.Linear(5, 7, bias=False)
    network.head.weight = network.embedding.weight
    model = task(network=network)
    Adaptation([Freeze("all_but_head")]).apply(model)
    assert frozen(model) == {"network.body.weight", "network.body.bias"}


def test_freezing_a_module_with_own_parameters_leaves_the_modules_inside_it():
    class WithToken(Network):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(3))

    model = task(network=WithToken())
    Adaptation([Freeze("first_1")]).apply(model)
    assert frozen(model) == {"network.token"}
    adaptation = Adaptation([Freeze(["token"])])
    adaptation.apply(task(network=WithToken()))
    adaptation.epoch(0)
    assert model.network.body[1].training


def test_gradual_unfreezing_and_frozen_norms():
    model = pair()
    adaptation = Adaptation([Freeze(["generator.body.0"]), Freeze("discriminator.all_but_head", unfreeze_every=2)])
    adaptation.apply(model)
    assert adaptation.parameter_groups(model)[0]["params"] == list(model.parameters())
    stages = []
    for epoch in range(5):  # Lightning changes no mode between them
        adaptation.epoch(epoch)
        trained = [layer for layer in (0, 2) if model.discriminator.body[layer].weight.requires_grad]
        stages.append((trained, model.discriminator.body[1].training, model.generator.body[0].weight.requires_grad))
    assert stages == [([], False, False)] * 2 + [([2], False, False)] * 2 + [([0, 2], True, False)]
    assert model.generator.body[1].training and model.discriminator.body[1].weight.requires_grad


def test_parts_are_fixed_for_some_epochs_and_then_trained_with_their_norms():
    model = single()
    adaptation = Adaptation.from_steps([{"freeze": {"parts": ["body"], "epochs": 2}}])
    (line,) = adaptation.apply(model)
    assert "frozen for 2 epochs: body.0" in line
    assert adaptation.parameter_groups(model)[0]["params"] == list(model.parameters())
    stages = []
    for epoch in range(3):
        adaptation.epoch(epoch)
        stages.append((model.network.body[0].weight.requires_grad, model.network.body[1].training))
    assert stages == [(False, False)] * 2 + [(True, True)]
    assert adaptation.record() == [{"freeze": {"parts": ["body"], "epochs": 2}}]


def test_statistics_without_weights_belong_to_the_layer_before():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2))
    assert [len(layer) for layer in layers(network)] == [2, 1]
    adaptation = Adaptation([Freeze("first_1")])
    adaptation.apply(task(network=network))
    adaptation.epoch(0)
    assert not network[1].training and network[2].training


def test_the_head_is_the_last_layer_wherever_it_is_defined():
    network = nn.Module()
    network.head, network.body = nn.Linear(2, 1), nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    assert layers(network) == [[network.body[0], network.body[1]], [network.head]]


def test_gradients_are_switched_off_for_a_while_only_where_they_were_on():
    model = pair()
    Adaptation([Freeze(["discriminator.body.0"])]).apply(model)
    before = frozen(model)
    with without_gradients(model.discriminator):
        assert {name for name, _ in model.named_parameters() if name.startswith("discriminator.")} <= frozen(model)
    assert frozen(model) == before


# --- the optimizer's settings --------------------------------------------------------------------------------------


def test_learning_rates_and_no_decay_multiply():
    model = single()
    adaptation = Adaptation(
        [LearningRates({"body": 0.1, "body.0": 0, "head": 2}), LearningRates({"*": 0.5}), NoDecay()]
    )
    adaptation.apply(model)
    groups = adaptation.parameter_groups(model, lr=0.1)
    found = {
        name.removeprefix("network."): (group["lr"], group.get("weight_decay"))
        for group in groups
        for name in names(model, group)
    }
    assert found == {
        "body.0.weight": (0.0, None), "body.0.bias": (0.0, 0.0),
        "body.1.weight": (pytest.approx(0.005), 0.0), "body.1.bias": (pytest.approx(0.005), 0.0),
        "body.2.weight": (pytest.approx(0.005), None), "body.2.bias": (pytest.approx(0.005), 0.0),
        "body.3.weight": (pytest.approx(0.005), 0.0), "body.3.bias": (pytest.approx(0.005), 0.0),
        "head.weight": (pytest.approx(0.1), None), "head.bias": (pytest.approx(0.1), 0.0),
    }  # fmt: skip
    assert len(groups) == 6 and sum(len(group["params"]) for group in groups) == 10


def test_the_group_with_the_settings_of_the_optimizer_comes_first():
    model = single()
    groups = Adaptation([LearningRates({"body": 0.1})]).parameter_groups(model, lr=1.0)
    assert [group.get("lr") for group in groups] == [None, pytest.approx(0.1)]
    assert names(model, groups[0]) == ["network.head.weight", "network.head.bias"]
    assert Adaptation().parameter_groups(model) == [{"params": list(model.parameters())}]


def test_parameter_groups_of_one_part():
    model = pair()
    adaptation = Adaptation([LearningRates({"discriminator": 0.5, "generator.head": 3})])
    adaptation.apply(model)
    groups = [
        adaptation.parameter_groups(model, lr, part=part)
        for part, lr in ((model.generator, 0.2), (model.discriminator, 0.4))
    ]
    assert [[group.get("lr") for group in part] for part in groups] == [[None, pytest.approx(0.6)], [0.2]]
    assert names(model, groups[0][1]) == ["generator.head.weight", "generator.head.bias"]
    both = nn.ModuleList([model.generator, model.discriminator])
    assert sum(len(group["params"]) for group in adaptation.parameter_groups(model, 0.2, part=both)) == 20


def test_names_stay_the_same_when_a_whole_network_is_frozen():
    model = task(network=Network(), critic=Network())
    adaptation = Adaptation([Freeze(["critic"]), LearningRates({"network.head": 2})])
    adaptation.apply(model)
    assert [group.get("lr") for group in adaptation.parameter_groups(model, lr=1.0)] == [None, 2.0]


def test_a_multiple_needs_a_learning_rate_to_multiply():
    with pytest.raises(ConfigError, match="set optim.lr"):
        Adaptation([LearningRates({"head": 2})]).parameter_groups(single())


# --- weights from elsewhere ----------------------------------------------------------------------------------------


def test_several_networks_start_from_a_stored_task(tmp_path):
    source, model = pair(), pair()
    source.ema_steps += 7
    write_tensors(source.state_dict(), tmp_path / WEIGHTS)
    (line,) = Adaptation([Start(str(tmp_path))]).apply(model)
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert line == f"{len(model.state_dict())} tensors loaded from {tmp_path}"


def test_parts_of_several_networks_from_two_sources(tmp_path):
    sources, model = [pair(), pair()], pair()
    for place, source in enumerate(sources):
        source.ema_steps += 7
        torch.save(source.state_dict(), tmp_path / f"{place}.pt")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = Start(str(tmp_path / "0.pt"), ["generator"]), Start(str(tmp_path / "1.pt"), "discriminator.body")
    Adaptation([first, second]).apply(model)
    for name, tensor in model.state_dict().items():
        origin = sources[0].state_dict() if name.startswith("generator") else before
        origin = sources[1].state_dict() if name.startswith("discriminator.body") else origin
        assert torch.equal(tensor, origin[name]), name
    assert first.loaded.loaded[0] == "generator.body.0.weight" and "ema_steps" in first.loaded.excluded


def test_counters_of_the_task_are_left_unless_all_weights_are_loaded(tmp_path):
    source = pair()
    source.ema_steps += 7
    source.discriminator.head = nn.Linear(5, 2)
    write_tensors(source.state_dict(), tmp_path / WEIGHTS)
    model = pair()
    Adaptation([Start(str(tmp_path))]).apply(model)
    assert int(model.ema_steps) == 0 and torch.equal(model.generator.head.weight, source.generator.head.weight)


def test_a_run_is_found_by_the_function_given(tmp_path):
    run, asked = "0" * 32, []
    write_tensors(single().state_dict(), tmp_path / WEIGHTS)

    def find(run_id):
        asked.append(run_id)
        return tmp_path if run_id == run else None

    Adaptation([Start(run)]).apply(single(), find=find)
    with pytest.raises(ConfigError, match="that run has no checkpoint, or there is no such run"):
        Adaptation([Start("1" * 32)]).apply(single(), find=find)
    assert asked == [run, "1" * 32]


def test_published_weights_are_for_one_network():
    with pytest.raises(ConfigError, match="a model with one network, this one has 2"):
        Adaptation([Start("torchvision:resnet18")]).apply(pair())


@pytest.mark.parametrize(
    "recipe, expected",
    [
        ({"labels": ["a", "b"]}, ["a", "b"]),
        ({"targets": {"label": {"_target_": "mlrun.data.features.Label", "classes": ["a", "b"]}}}, ["a", "b"]),
        ({"targets": {"value": {"_target_": "mlrun.data.features.Value"}}}, []),
        ({}, None),
    ],
)
def test_classes_in_a_recipe(recipe, expected):
    assert classes_of(recipe) == expected


# --- vocabularies --------------------------------------------------------------------------------------------------


def text_state(*words: str) -> dict:
    return {
        "kind": "text",
        "tokenizer": {"kind": "words", "vocabulary": [*TOKENS, *words], "model": None},
        "begin": False,
    }


class Reader(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(size, 5), nn.Linear(5, 5), nn.Linear(5, size)


@pytest.fixture
def text_run(tmp_path):
    def write(state, key="preprocessor"):
        (tmp_path / "model").mkdir(exist_ok=True)
        write_tensors(task(network=Reader(6)).state_dict(), tmp_path / "model" / WEIGHTS)
        (tmp_path / "model" / "recipe.json").write_text(json.dumps({key: state, "labels": []}), encoding="utf-8")
        return str(tmp_path)

    return write


def test_vocabularies_are_found_in_any_nesting():
    nested = {
        "parts": [text_state("a", "b"), {"target": {"vocabulary": {"y": 1, "x": 0}}}],
        "scaling": {"shift": [0.0]},
    }
    assert vocabularies(nested) == [[*TOKENS, "a", "b"], ["x", "y"]]
    assert same_vocabulary(text_state("a"), {"preprocessor": {"text": text_state("a")}})
    assert not same_vocabulary(text_state("a", "b"), text_state("b", "a"))
    assert same_vocabulary({"kind": "scaling"}, None)


def test_vocabularies_that_would_be_mistaken_for_each_other():
    assert misleading_sizes(text_state("a"), text_state("b")) == [5]
    assert misleading_sizes(text_state("a"), text_state("b", "c")) == []
    both = {"source": text_state("a"), "target": text_state("b")}
    swapped = {"source": text_state("b"), "target": text_state("a")}
    assert misleading_sizes(both, both) == [] and misleading_sizes(both, swapped) == [5, 5]
    assert misleading_sizes(both, text_state("a")) == [5] and misleading_sizes(text_state("a"), both) == []


@pytest.mark.parametrize("key", ["preprocessor", "transform"])
def test_weights_are_not_loaded_for_other_words(text_run, key):
    source = text_run(text_state("a", "b"), key)
    assert source_preprocessor(source) == text_state("a", "b")
    adaptation, model = Adaptation([Start(source)]), task(network=Reader(6))
    before = model.network.embedding.weight.clone()
    with pytest.raises(
        ConfigError, match=r"the same size as this one \(6\), but different tokens.*embedding.weight.*model.init_only"
    ):
        adaptation.apply(model, preprocessor_state=text_state("a", "c"))
    assert torch.equal(model.network.embedding.weight, before), "nothing is loaded before the check"
    adaptation.apply(model, preprocessor_state=text_state("a", "b"))
    assert not torch.equal(model.network.embedding.weight, before)
    Adaptation([Start(source, ["body"])]).apply(task(network=Reader(6)), preprocessor_state=text_state("a", "c"))


def test_a_vocabulary_of_another_size_keeps_its_random_weights(text_run):
    model = task(network=Reader(7))
    (line,) = Adaptation([Start(text_run(text_state("a", "b")))]).apply(
        model, preprocessor_state=text_state("a", "b", "c")
    )
    assert (
        "2 tensors loaded" in line
        and "3 of another shape, initialized at random: embedding.weight, head.weight, head.bias" in line
    )


def test_an_unknown_vocabulary_is_mentioned(tmp_path):
    write_tensors(task(network=Reader(6)).state_dict(), tmp_path / WEIGHTS)
    assert source_preprocessor(str(tmp_path)) is None
    (line,) = Adaptation([Start(str(tmp_path))]).apply(task(network=Reader(6)), preprocessor_state=text_state("a", "b"))
    assert line.endswith("the source does not record its vocabulary, so it was not compared with this one")


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, pattern, expected",
    [
        ("body.0.weight", "body", True),
        ("body.0.weight", "body.0", True),
        ("body2.weight", "body", False),
        ("blocks.3.attention.output.weight", "*.attention", True),
        ("blocks.3.attention.output.weight", "blocks.[0-2]", False),
        ("head", "head.weight", False),
    ],
)
def test_names_and_patterns(name, pattern, expected):
    assert matches(name, pattern) == expected


def test_networks_are_the_children_that_are_trained():
    assert list(Target(pair()).networks) == ["generator", "discriminator"]
    assert Target(single()).name_of("network.body.0") == "body.0"
    assert Target(pair()).name_of("generator.body.0") == "generator.body.0"
