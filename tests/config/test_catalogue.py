"""Choices found by plain reading of the YAML files, and the tables of `mlrun list`."""

from __future__ import annotations

import re

import pytest

from mlrun.commands import list as list_command
from mlrun.config import catalogue
from mlrun.errors import UserError


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "conf" / "model" / "deep").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "deep" / "mine.yaml").write_text(
        "# A net of my own.\n# Nobody 2020.\ndefaults:\n  - override /dataset@_global_.dataset: iris\n\nfits: [classification]\n"
    )
    monkeypatch.chdir(tmp_path)


def test_every_entry_says_what_it_is():
    for group in catalogue.groups():
        for entry in catalogue.entries(group):
            assert entry.fault is None, entry.fault
            assert entry.summary, f"{entry.path} has no comment in its first line"


def test_every_model_and_dataset_declares_what_pairing_needs():
    for entry in catalogue.entries("model"):
        assert entry.get("fits"), entry.path
        assert entry.dataset is None or catalogue.find("dataset", entry.dataset), entry.path
    for entry in catalogue.entries("dataset"):
        assert isinstance(entry.get("problem"), str), entry.path


def test_own_entries_extend_the_packaged(own):
    mine = catalogue.find("model", "deep/mine")
    assert mine.own and mine.summary == "A net of my own." and mine.head == "A net of my own.\nNobody 2020."
    assert mine.dataset == "iris" and mine.get("fits") == ["classification"]
    assert not catalogue.find("model", "mlp").own


def test_the_default_dataset_of_a_model_that_inherits_is_the_composed_one(capsys):
    from mlrun.config.compose import compose

    heirs = [
        entry
        for entry in catalogue.entries("model")
        if any(isinstance(item, str) and item != "_self_" for item in entry.body.get("defaults") or [])
    ]
    assert "seq2seq" in {entry.name for entry in heirs}
    assert list_command.run(["model"]) == 0
    listed = dict(re.findall(r"^  (\S+) .*?\[(\w+)\]$", capsys.readouterr().out, re.M | re.S))
    for entry in heirs:
        assert listed[entry.name] == compose([f"model={entry.name}"]).dataset.name, entry.name


def test_datasets_for():
    assert {"digits", "iris"} <= set(catalogue.datasets_for(["classification"]))
    assert "diabetes" not in catalogue.datasets_for(["classification"])
    assert "iris" not in catalogue.datasets_for(["classification"], {"image_shape"})
    assert "digits" in catalogue.datasets_for(["classification"], {"image_shape"})


def test_list(own, capsys):
    assert list_command.run([]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    for word in ("optim", "scheduler", "digits", "deep/mine (yours)", "iris"):
        assert word in text
    assert list_command.run(["model"]) == 0
    assert "deep/mine (yours)" in (text := capsys.readouterr().out) and "A net of my own. [iris]" in text
    assert list_command.run(["optim"]) == 0
    assert "adam" in capsys.readouterr().out


def test_unknown_group():
    with pytest.raises(UserError, match="did you mean 'optim'"):
        list_command.run(["optm"])


def test_a_model_suggests_a_learning_rate_and_the_command_line_decides():
    from torch import nn

    from mlrun.config.compose import compose
    from mlrun.config.instantiate import plain
    from mlrun.training.optimization import Optimization

    for overrides, expected in (
        (["model=mlp"], 1e-3),
        (["model=gpt"], 2e-3),
        (["model=gpt", "optim.lr=0.5"], 0.5),
        (["model=gpt", "optim=adamw"], 2e-3),
    ):
        optimizer = Optimization(plain(compose(overrides))["optim"]).optimizer(nn.Linear(1, 1))
        assert optimizer.param_groups[0]["lr"] == expected


def test_a_model_suggests_a_batch_size_and_the_command_line_decides():
    from mlrun.config.compose import compose

    sizes = [
        compose(overrides).dataset.batch_size
        for overrides in (["model=dcgan"], ["model=diffusion"], ["model=diffusion", "dataset.batch_size=16"])
    ]
    assert sizes == [32, 64, 16]
