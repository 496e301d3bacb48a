"""The direction of a search, read from the source of the model, is the one that the model declares when it runs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from mlrun.config.compose import CONF, compose
from mlrun.config.instantiate import plain
from mlrun.errors import ConfigError
from mlrun.sweep.search import direction_of
from mlrun.sweep.watched import watched

DECIDED_BY_DATA = {"bert_pair"}  # whether classes or values are learned
MODELS = sorted({path.stem for path in (CONF / "model").glob("*.yaml")} - DECIDED_BY_DATA)


def declared(model):
    """(metrics that it may watch; empty if the constructor decides, metric -> direction) by importing the task or the role."""
    from hydra.utils import get_class

    from mlrun.estimators.controller import MONITOR
    from mlrun.estimators.roles import ROLES
    from mlrun.evaluation.evaluator import Evaluator, directions

    entries = [
        one["_target_"].rpartition(".")[0] if isinstance(one, dict) else f"mlrun.evaluation.{one}"
        for one in model["evaluators"]
    ]
    modules = [importlib.import_module(name) for name in entries]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    found = directions(*(kind.metrics for kind in kinds if issubclass(kind, Evaluator) and hasattr(kind, "metrics")))
    if model.get("_target_"):
        task = get_class(model["_target_"])
        watches = [task.monitor] if "monitor" in vars(task) else []
        return watches, directions(task.metrics) | found
    if "controller" in model:
        return [MONITOR], found
    return [model.get("monitor") or role.monitor for name, role in ROLES.items() if name in model], found


@pytest.mark.parametrize("model", MODELS)
def test_it_is_what_the_model_declares(model):
    cfg = plain(compose([f"model={model}"]))
    metric, direction = watched(cfg["model"], cfg["dataset"])
    expected, directions = declared(cfg["model"])
    assert direction == directions[metric] and (not expected or metric in expected)


@pytest.mark.parametrize(
    "overrides, found",
    [
        (["model=mlp", "dataset=diabetes"], ("rmse", "min")),
        (["model=ridge", "dataset=diabetes"], ("rmse", "min")),
        (["model=random_forest", "dataset=diabetes"], ("rmse", "min")),
        (["model=mlp", "+model.monitor=log_loss"], ("log_loss", "min")),
        (["model=knn", "+model.monitor=f1_macro"], ("f1_macro", "max")),
        (
            ["model=dqn", "+model.monitor=episode_length"],
            None,
        ),  # no direction: shorter is better in a maze, longer in CartPole
        (["model=transformer", "dataset=reverse"], ("bleu", "max")),
        (["model=kmeans"], ("silhouette", "max")),
        (["model=mlp", "+model.monitor=nothing"], None),
        (["model=bert_pair"], None),
        (["model=mlp", "dataset=csv", "dataset.path=x.csv"], None),  # classes or values: the file decides
    ],
)
def test_settings_of_the_user(overrides, found):
    cfg = compose(overrides)
    assert watched(cfg.model, cfg.dataset) == found


def test_a_task_of_the_user(workplace):
    (workplace / "own.py").write_text(
        "from mlrun.evaluation.evaluator import Better\n"
        "from mlrun.tasks.supervised import Supervised\n"
        "class Inherits(Supervised):\n    pass\n"
        "class Watches(Supervised):\n    monitor = 'distance'\n    metrics = {'distance': Better.SMALLER}\n"
    )
    iris = {"problem": "classification"}
    assert watched({"_target_": "own.Inherits"}, iris) == ("accuracy", "max")
    assert watched({"_target_": "own.Watches"}, iris) == ("distance", "min")
    assert watched({"_target_": "own.Absent"}, iris) is None and watched({}, {}) is None


def test_models_that_differ_need_a_direction():
    one, other = ({"model": {"_target_": f"mlrun.tasks.{name}"}, "dataset": {}} for name in ("vae.VAE", "gan.GAN"))
    assert direction_of([OmegaConf.create(one)]) == "maximize"
    with pytest.raises(ConfigError, match="hydra.sweeper.direction"):
        direction_of([OmegaConf.create(one), OmegaConf.create(other)])


def test_nothing_heavy_is_imported():
    program = (
        "import sys; from mlrun.sweep.watched import watched; "
        "assert watched({'_target_': 'mlrun.tasks.vae.VAE'}, {}) == ('elbo', 'max'); "
        "assert not {'torch', 'numpy', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
