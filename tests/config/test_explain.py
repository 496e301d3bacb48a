"""Command lines that Hydra refuses: what is said about them."""

from __future__ import annotations

import pytest

from mlrun.config.compose import compose
from mlrun.config.explain import explain, quoted


def explained(*overrides, config_dir=None):
    try:
        compose(list(overrides), config_dir)
    except Exception as error:
        return explain(list(overrides), config_dir, error)
    return explain(list(overrides), config_dir, None)


@pytest.mark.parametrize(
    "override, message",
    [
        ("model=mlpp", "model=mlpp: there is no model of that name — did you mean 'mlp'?"),
        ("optim=admm", "did you mean 'adam'?"),
        ("modle=mlp", "modle: there is no such group or key — did you mean 'model'?"),
        ("sede=1", "sede: there is no such group or key — did you mean 'seed'?"),
        ("optim.lrr=1", "optim.lrr: torch.optim.Adam does not accept 'lrr' — did you mean 'optim.lr'?"),
        ("optm.lr=1", "optm.lr: there is no such key — did you mean 'optim.lr'?"),
        ("optim.foreach=true", "add it: +optim.foreach=true"),
        ("dataset.split={trian: 5}", "dataset.split.trian: there is no such key — did you mean 'dataset.split.train'?"),
        (
            "trainer.callbacks={stop: 1}",
            "trainer.callbacks.stop: there is no such key; to add it: +trainer.callbacks={stop: 1}",
        ),
        ("trainer.max_epoch=1", "did you mean 'trainer.max_epochs'?"),
        ("model=[", "model=[: cannot be read: a bracket or a quote is not closed"),
        ("optim.lr='1", "cannot be read"),
        ("=3", "there is no key before"),
        ("model=", "model=: which model?"),
        ("model=3", "there is no model of that name"),
        ("+optim.lr=1", "optim.lr already exists: write optim.lr=1"),
        ("+model=mlp", "model is already chosen: write model=mlp"),
        ("~optim.lrr", "there is no optim.lrr to delete — did you mean 'optim.lr'?"),
        ("augment.run=RUN", "augment.run: this key exists only with augment=generated; add it"),
        ("trainer.folds=5", "trainer.folds: this key exists only with trainer=kfold; add it"),
        ("augment=generated", "augment.run: must be given, e.g. augment.run=..."),
        ("augment=[mixup,affin]", "augment=[mixup,affin]: there is no augment of that name — did you mean 'affine'?"),
        ("augment=[mixup,affine]", "augment=[mixup,affine]: mixup and affine both set 'augment'; choose one of them"),
        ("model=[mlp,cnn]", "model=[mlp,cnn]: mlp and cnn both set"),
        ("+optim.lrr=1", "torch.optim.Adam does not accept 'lrr' — did you mean 'lr'?"),
    ],
)
def test_one_problem(override, message):
    found = explained(override)
    assert len(found) == 1 and message in found[0], found


def test_all_problems_at_once():
    found = explained("optim=admm", "optim.lr=fast", "trainer.max_epoch=3", "model=mpl", "seed=-1", "x=[")
    assert len(found) == 6, found


def test_alternatives_of_a_sweep_are_judged_one_by_one():
    found = explain(["model=mlp,lenett,mlpp", "optim.lr=0.1,fast,-1,1e-3", "seed=range(3)"])
    assert [line.partition(":")[0] for line in found] == ["model=lenett", "model=mlpp", "optim.lr=fast", "optim.lr=-1"]


def test_good_sweep_has_no_problems():
    assert explain(["optim=sgd,adam", "optim.lr=1e-3,1e-2", "seed=1,2,3"]) == []
    assert explain(["optim.lr=tag(log, interval(1e-5, 1e-1))"]) == []


def test_settings_beside_a_part_are_known():
    assert explain(["model=rag", "model.passages.words=100", "model.reader=null"]) == []
    assert explain(["model=rag", "+model.passage=100"]) == [
        "model.passage: there is no such key — did you mean 'passages'?"
    ]


def test_choices_of_a_group_that_set_different_keys_are_combined():
    assert explained("augment=[generated,affine]", "augment.run=RUN", "augment.share=2") == []
    cfg = compose(["augment=[generated,affine]", "augment.run=RUN"])
    assert cfg.augment.run == "RUN" and len(cfg.dataset.augment) == 1
    assert explained("augment=generated", "augment.run=RUN", "augment.share=-1") == [
        "augment.share=-1: must be a number >= 0"
    ]


def test_several_values_without_multirun():
    assert any("add -m to run each" in line for line in explained("seed=1,2"))


def test_config_directory(tmp_path):
    assert explained(config_dir=str(tmp_path / "none")) == [
        f"--config-dir {tmp_path / 'none'}: there is no such directory"
    ]
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("# Mine.\n_target_: torch.optim.Adam\nlr: 0.1\n")
    (tmp_path / "optim" / "broken.yaml").write_text("a: {b: ${c}}\n")
    assert explained("optim=mine", config_dir=str(tmp_path)) == []
    assert "did you mean 'mine'" in explained("optim=mime", config_dir=str(tmp_path))[0]
    assert "broken.yaml is not valid YAML" in explained("optim=broken", config_dir=str(tmp_path))[0]


@pytest.mark.parametrize(
    "text, value",
    [
        ("dataset.target=标签", "标签"),
        ("dataset.path=my data/größe (1).csv", None),
        ("dataset.path=my data/größe.csv", "my data/größe.csv"),
        ("dataset.drop=[größe, b, 'é,x']", ["größe", "b", "é,x"]),
        ("dataset.path='数 据.csv'", "数 据.csv"),
        ("dataset.path=data.csv", "data.csv"),
    ],
)
def test_words_of_any_letters_need_no_quotes(text, value):
    from hydra.errors import HydraException

    from mlrun.config.hydra_internals import parse_override

    if value is None:  # parentheses do need them
        with pytest.raises(HydraException):
            parse_override(quoted(text))
        return
    assert parse_override(quoted(text)).value() == value


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "torn.yaml").write_text("# torn\n_target_: [\n")
    said = explain(["model=torn"], str(tmp_path))
    assert len(said) == 1 and "torn.yaml is not valid YAML" in said[0] and "in line" in said[0]
