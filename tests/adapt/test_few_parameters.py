"""LoRA, BitFit and the last layer: what is trained, what is stored, what is merged."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from torch import nn

from mlrun.adapt.adaptation import Adaptation
from mlrun.config.compose import compose
from mlrun.data.readers.tensors import load_tensors
from mlrun.errors import ConfigError, UserError
from mlrun.experiment.run import run
from mlrun.networks.layers.lora import LoRALinear, merged_state
from mlrun.networks.text.transformer import Transformer
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from tests.test_models import Nobody, prepared

SIZES = [f"model.network.encoder.{name}={value}" for name, value in {"width": 32, "heads": 2, "layers": 2}.items()]
LORA = "model.adapt=[{lora: {rank: 2, dropout: 0.1}}]"


def holder(network):
    task = nn.Module()
    task.network = network
    return task


def test_a_product_of_two_matrices_is_added_and_merged():
    torch.manual_seed(0)
    plain = nn.Linear(6, 4)
    layer, x = LoRALinear(plain, rank=2, alpha=8.0).eval(), torch.randn(3, 6)
    assert torch.equal(layer(x), plain(x))  # B is zero
    nn.init.normal_(layer.lora_B)
    expected = plain(x) + 8 / 2 * x @ layer.lora_A.T @ layer.lora_B.T
    torch.testing.assert_close(layer(x), expected)
    merged = nn.Linear(6, 4)
    merged.load_state_dict(merged_state(layer))
    torch.testing.assert_close(merged(x), expected, atol=1e-5, rtol=0)
    layer.dropout = 0.9
    assert not torch.allclose(layer.train()(x), expected)


def test_attention_to_a_memory_uses_the_matrices_too():
    torch.manual_seed(0)
    task = holder(Transformer(9, 9, width=8, heads=2, layers=1, dropout=0.0).eval())
    Adaptation.from_steps([{"lora": {"rank": 2, "layers": ["*.cross_attention", "*.attention"], "also": []}}]).apply(
        task
    )
    source, target = torch.tensor([[4, 5, 6, 3]]), torch.tensor([[2, 4, 5]])
    for module in task.modules():
        if isinstance(module, LoRALinear):
            nn.init.normal_(module.lora_B)
    whole = Transformer(9, 9, width=8, heads=2, layers=1, dropout=0.0).eval()
    whole.load_state_dict(merged_state(task.network))
    torch.testing.assert_close(whole(source, target), task.network(source, target), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "step, expected",
    [
        (
            {"lora": {"rank": 3, "layers": ["*.feed_forward"], "also": []}},
            2 * 3 * (8 + 32) * 2,
        ),  # (in + out) r, as peft counts
        ({"lora": 3}, 2 * 3 * (8 + 24 + 8 + 8)),
        ({"bitfit": True}, None),
        ({"last_layer": {"also": ["decoder.output"]}}, 9 * 8),
    ],
)
def test_few_parameters_are_trained(step, expected):
    task = holder(Transformer(9, 9, width=8, heads=2, layers=1, dropout=0.0, tied=False))
    biases = sum(p.numel() for name, p in task.named_parameters() if name.endswith("bias"))
    (line,) = Adaptation.from_steps([step]).apply(task)
    trained = sum(p.numel() for p in task.parameters() if p.requires_grad)
    assert trained == (biases if expected is None else expected) and f"{trained:,} of" in line


def test_faulty_settings_are_refused():
    def applied(step):
        Adaptation.from_steps([step]).apply(holder(Transformer(9, 9, width=8, heads=2, layers=1)))

    for step, message in (
        ({"lora": {"rank": 0}}, r"model.adapt\[0\].lora.rank=0: must be"),
        (
            {"lora": {"rank": 2, "layers": ["*.attentoin"]}},
            "names no linear layer; they are encoder.blocks.0.attention.project",
        ),
        ({"lora": {"rank": 2, "dropout": 1}}, "dropout=1: must be"),
        (
            {"lora": {"rank": 2, "layers": ["decoder.*"]}},  # the stored model would have another embedding
            "decoder.output shares its weight with decoder.embedding.*tied: false",
        ),
        ({"last_layer": {"also": ["haed"]}}, "no part is named haed"),
        ({"last_layer": True}, "nothing is left to train"),
    ):
        with pytest.raises(ConfigError, match=message):
            applied(step)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    random = np.random.default_rng(0)
    with open(folder / "texts.csv", "w", newline="") as file:
        rows = [
            (" ".join(random.choice([("up", "high"), ("down", "low")][at % 2], 5)), "ab"[at % 2]) for at in range(80)
        ]
        csv.writer(file).writerows([("text", "label"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        own = ["model=bert_classifier", "dataset=labelled_text", "dataset.path=texts.csv", *SIZES, "trainer.threads=1"]
        run(compose([*own, "trainer.max_epochs=1"]), folder / "base", [], report=silent)
        yield folder, [*own, f"model.init_from={folder / 'base'}", LORA, "optim.lr=0.01", "scheduler=none"]


def fitted(directory, overrides, resume=None):
    cfg, data = prepared(*overrides)
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), directory, silent.Progress(), resume)
    return learner, data


def test_checkpoints_hold_the_adapter_and_resume_exactly(base):
    folder, overrides = base
    whole, data = fitted(folder / "whole", [*overrides, "trainer.max_epochs=3"])
    fitted(folder / "parts", [*overrides, "trainer.max_epochs=1"])
    content = torch.load(folder / "whole" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert {name.rpartition(".")[2] for name in content} == {"lora_A", "lora_B", "weight", "bias"}
    assert {name for name in content if "lora" not in name} == {"network.head.weight", "network.head.bias"}
    resumed, _ = fitted(
        folder / "parts", [*overrides, "trainer.max_epochs=3"], folder / "parts" / "checkpoints" / "last.ckpt"
    )
    for (name, one), other in zip(whole.task.state_dict().items(), resumed.task.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    whole.save(folder / "whole" / "model")
    sizes = [
        (folder / "whole" / "model" / name).stat().st_size for name in ("adapter.safetensors", "weights.safetensors")
    ]
    assert sizes[0] < sizes[1] / 4
    stored = load_learner(folder / "whole" / "model")
    assert not any(isinstance(module, LoRALinear) for module in stored.task.modules())
    examples = data.examples("test")
    one, other = (learner.predict(examples).probabilities for learner in (whole, stored))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_only_the_adapter_changes(base):
    folder, overrides = base
    learner, _ = fitted(folder / "changed", [*overrides, "trainer.max_epochs=1"])
    before = load_tensors(folder / "base" / "model" / "weights.safetensors")
    after = learner.task.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {"network.head.weight", "network.head.bias"}
    assert all(bool(after[name].any()) for name in after if name.endswith("lora_B"))


def test_a_checkpoint_of_the_adapter_alone_is_no_source(base):
    folder, overrides = base
    fitted(folder / "unfinished", [*overrides, "trainer.max_epochs=1"])
    others = [one for one in overrides if not one.startswith(("model.init_from", "model.adapt"))]
    with pytest.raises(UserError, match="holds only what a run that starts from .*base has trained.*mlrun resume"):
        make_learner(*prepared(*others, f"model.init_from={folder / 'unfinished'}"))


POINTS = ["model=diffusion_2d", "dataset.rows=200", "model.network.width=16", "scheduler=none", "trainer.threads=1"]


@pytest.mark.parametrize("step", ["bitfit: true", "lora: {rank: 2, layers: [blocks]}"])
def test_a_moving_average_of_few_parameters_follows_them_and_resumes_exactly(tmp_path, step):
    source, _ = fitted(tmp_path / "source", [*POINTS, "trainer.max_epochs=1"])
    source.save(tmp_path / "source" / "model")
    own = [*POINTS, f"model.init_from={tmp_path / 'source'}", f"model.adapt=[{{{step}}}]"]
    whole, _ = fitted(tmp_path / "whole", [*own, "trainer.max_epochs=3"])
    network, average = whole.task.network.state_dict(), whole.task.ema.state_dict()
    assert network.keys() == average.keys() and not any(p.requires_grad for p in whole.task.ema.parameters())
    assert not torch.equal(average["last.bias"], source.task.ema.state_dict()["last.bias"]) or "lora" in step
    assert all(average[name].any() for name in average if name.endswith("lora_B"))
    fitted(tmp_path / "parts", [*own, "trainer.max_epochs=1"])
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    resumed, _ = fitted(tmp_path / "parts", [*own, "trainer.max_epochs=3"], last)
    for (name, one), other in zip(whole.task.state_dict().items(), resumed.task.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    whole.save(tmp_path / "whole" / "model")
    stored = load_learner(tmp_path / "whole" / "model")
    torch.testing.assert_close(stored.task.draw(5, 0)[0], whole.task.draw(5, 0)[0], atol=1e-4, rtol=0)


def test_what_an_earlier_step_has_fixed_stays_fixed():
    task = holder(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    task.average = nn.Linear(3, 4).requires_grad_(False)
    line = Adaptation.from_steps([{"freeze": "first_1"}, {"bitfit": True}]).apply(task)[1]
    assert [name for name, p in task.named_parameters() if p.requires_grad] == ["network.1.bias"]
    assert "2 of 26 parameters" in line
