"""What a composed configuration is refused for, and what it is warned about."""

from __future__ import annotations

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from mlrun.config.validate import validate


def errors(cfg, *overrides):
    for override in overrides:
        key, _, value = override.partition("=")
        value = OmegaConf.to_container(OmegaConf.create(f"x: {value}"))["x"]
        OmegaConf.update(cfg, key, value, force_add=True)
    return validate(cfg, list(overrides))[0]


def test_correct_configurations_pass(network, estimator):
    assert validate(network, []) == ([], [])
    assert validate(estimator, []) == ([], [])


@pytest.mark.parametrize(
    "override, message",
    [
        ("seed=-1", "seed=-1: must be an integer in [0, 4294967295]"),
        ("seed=4294967296", "seed=4294967296: must be"),
        ("seed=one", "seed=one: must be an integer"),
        ("seed=null", "seed=null: must be an integer"),
        ("seeed=1", "seeed: there is no such key — did you mean 'seed'?"),
        ("data_dir=3", "data_dir=3: must be text or null"),
        ("tracking.experimnt=a", "tracking.experimnt: there is no such key — did you mean 'experiment'?"),
        ("tracking=a", "tracking=a: must be a mapping"),
        ("optim.lrr=1", "optim.lrr: torch.optim.Adam does not accept 'lrr' — did you mean 'lr'?"),
        ("optim.lr=fast", "optim.lr=fast: must be a number"),
        ("optim.lr='1e-3'", "a number in quotes is text"),
        ("optim.lr=-0.1", "optim.lr=-0.1: must be a number > 0"),
        ("optim.lr=0", "optim.lr=0: must be a number > 0"),
        ("optim.lr=null", "optim.lr=null: must be a number"),
        ("optim.lr=.inf", "optim.lr=inf: must be a number > 0"),
        ("optim.lr=.nan", "optim.lr=nan: must be a number"),
        ("optim.lr=true", "optim.lr=true: must be a number"),
        ("optim.lr=[1, 2]", "optim.lr=[1, 2]: must be a number"),
        ("optim.betas=[0.9, 1.0]", "optim.betas=[0.9, 1.0]: each must be a number in [0, 1)"),
        ("optim.betas=[0.9]", "must be a list of length 2"),
        ("optim.betas=0.9", "must be a list of length 2"),
        ("optim.weight_decay=-1", "must be a number >= 0"),
        ("optim.eps=0", "must be a number > 0"),
        ("optim.amsgrad=1", "optim.amsgrad=1: must be true or false"),
        ("optim._target_=torch.optim.Adamm", "did you mean 'Adam'?"),
        ("optim._target_=3", "must be the dotted name of a class or function"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be an integer >= 1"),
        ("trainer.max_epochs=-1", "trainer.max_epochs=-1: must be an integer >= 1"),
        ("trainer.max_epochs=1.5", "must be an integer >= 1"),
        ("trainer.max_epoch=3", "did you mean 'max_epochs'?"),
        ("trainer.precision=31", "trainer.precision=31: must be one of"),
        ("trainer.accelerator=gpuu", "did you mean 'gpu'?"),
        ("trainer.gradient_clip_algorithm=norn", "did you mean 'norm'?"),
        ("trainer.gradient_clip_val=0", "must be a number > 0 or null"),
        ("trainer.l1=-1", "must be a number >= 0"),
        ("trainer.deterministic=maybe", "must be true or false"),
        ("trainer.early_stopping_patience=0", "must be an integer >= 1 or null"),
        ("dataset.batch_size=0", "dataset.batch_size=0: must be an integer >= 1"),
        ("dataset.split.train=0.9", "fractions sum to 1.3; they must sum to 1"),
        ("dataset.split.train=-5", "train must be >= 0"),
        ("dataset.split.train=most", "must be a fraction or a number of rows"),
        ("dataset.split.training=0.1", "has no part named training"),
        ("model.loss=mae", "must be one of auto, cross_entropy, mse"),
        ("model.network.hidden=[0]", "each must be an integer >= 1"),
        ("model.network.hidden=[1.5]", "must be a list (each an integer)"),
        ("model.network.hidden=wide", "must be a list"),
        ("model.network.dropout=1", "must be a number in [0, 1)"),
        ("model.network.activation=rleu", "did you mean 'relu'?"),
        ("model.network.depth=3", "mlrun.networks.mlp.MLP does not accept 'depth'"),
        ("model.network._target_=mlrun.networks.mlp.MPL", "did you mean 'MLP'?"),
        ("model.network.hidden=???", "model.network.hidden: must be given"),
        ("model.network.hidden=${no.such}", "cannot be resolved"),
        ("dataset.problem=translation", "mlp is for classification or regression, and things is a translation dataset"),
        ("dataset.facts=[input_shape]", "needs num_outputs, which things does not provide"),
    ],
)
def test_refused(network, override, message):
    found = errors(network, override)
    assert len(found) == 1 and message in found[0], found
    assert override.partition("=")[0].split(".")[0] in found[0]


@pytest.mark.parametrize(
    "override",
    [
        "optim.lr=1", "optim.lr=1e-3", "optim.amsgrad=true", "optim.betas=[0, 0.5]", "optim.fused=null", "seed=0",
        "trainer.gradient_clip_val=1", "trainer.precision=bf16-mixed", "trainer.precision=16", "trainer.devices=auto",
        "trainer.devices=[0, 1]", "trainer.max_time='00:00:10:00'", "trainer.max_time={minutes: 3}",
        "trainer.fast_dev_run=3", "dataset.split={train: 98, val: 1, test: 1}", "dataset.split={train: 100, test: null}",
        "dataset.split.test=null", "model.network.hidden=[]", "model.network.norm=batch", "model.network.norm=null",
        "dataset.problem=auto", "data_dir=/tmp", "tracking.run_name=a", "model.max_epochs=3",
        "model.network.hidden=['${seed}']",
    ],
)  # fmt: skip
def test_allowed(network, override):
    assert errors(network, override) == []


@pytest.mark.parametrize(
    "override, message",
    [
        ("model.classifier.criterion=ginni", "did you mean 'gini'?"),
        ("model.classifier.n_estimators=0", "must be an integer >= 1"),
        ("model.classifier.n_estimator=3", "did you mean 'n_estimators'?"),
        ("model.classifer.n_estimators=3", "did you mean 'classifier'?"),
        ("model.preprocessing._target_=sklearn.preprocessing.StandardScalar", "did you mean 'StandardScaler'?"),
        ("model.fits=[regression]", "random_forest is for regression, and things is a classification dataset"),
    ],
)
def test_refused_of_an_estimator(estimator, override, message):
    found = errors(estimator, override)
    assert len(found) == 1 and message in found[0], found


def test_all_problems_at_once(network):
    found = errors(network, "optim.lr=-1", "trainer.max_epochs=0", "model.loss=x", "seed=-3", "optim.betaz=[1, 2]")
    assert len(found) == 5


def test_pairing_lists_datasets_that_fit(network):
    found = errors(network, "dataset.problem=translation")
    assert "Datasets that fit:" in found[0] and "digits" in found[0] and "diabetes" in found[0]


def test_settings_without_effect_are_warned_about(estimator):
    found = validate(estimator, ["optim=sgd", "optim.lr=1", "+optim.x=1", "scheduler=step", "trainer.max_epochs=3"])
    assert found[0] == [] and len(found[1]) == 5
    assert found[1][0] == "model random_forest has no optimizer: optim=sgd has no effect"
    assert "regressor" in validate(estimator, ["model.regressor.max_depth=3"])[1][0]
    assert validate(estimator, ["model.classifier.max_depth=3", "seed=3"])[1] == []


def test_optimizer_of_a_network_is_not_warned_about(network):
    assert validate(network, ["optim=sgd", "optim.lr=1"])[1] == []


def test_validation_imports_nothing_heavy():
    code = """
import sys
from omegaconf import OmegaConf
sys.path.insert(0, "tests/config")
import importlib, pkgutil, mlrun.config, mlrun.commands
for name in ("catalogue", "explain", "schema", "signatures", "sources", "validate", "values", "constraints", "compose"):
    importlib.import_module(f"mlrun.config.{name}")
import mlrun.commands.list
from mlrun.config.validate import validate
from mlrun.config.explain import explain
explain(["model=nope", "optim.lrr=1"])
cfg = OmegaConf.create(sys.argv[1])
assert validate(cfg, []) == ([], []), validate(cfg, [])
cfg.model = OmegaConf.create(sys.argv[2])
assert validate(cfg, []) == ([], []), validate(cfg, [])
heavy = {"torch", "lightning", "mlflow", "sklearn", "numpy", "pandas", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    from tests.config.conftest import ESTIMATOR, NETWORK

    done = subprocess.run([sys.executable, "-c", code, NETWORK, ESTIMATOR], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
