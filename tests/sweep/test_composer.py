"""Configurations of a sweep's jobs: shared compositions are what Hydra composes for each."""

from __future__ import annotations

import sys

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mlrun.config.compose import compose_all
from mlrun.sweep.composer import Composer

BASE = ["model=mlp", "dataset=iris"]
SWEEPS = {
    "values": [["seed=1", "optim.lr=0.1"], ["seed=2", "optim.lr=1e-3"], ["seed=3", "optim.lr=null"]],
    "kinds of values": [[f"model.network.hidden={value}"] for value in ("[64]", "[]", "text", "'a,b'", "${seed}", "true", "[{a: 1}]")],
    "mappings are merged": [["dataset.split={train: 5}"], ["dataset.split={val: 6}"]],
    "groups": [["optim=adam", "seed=1"], ["optim=sgd", "seed=1"], ["optim=adam", "seed=2"]],
    "order matters": [["model.network={_target_: a.b}", "model.network.x=1"], ["model.network.hidden=3", "model.network=4"]],
    "a key below a value": [["model.network=1", "++model.network.x=2"]] * 2,
    "additions": [["+model.new=1", "seed=1"], ["+model.new=1", "seed=2"], ["+model.new=2", "seed=2"], ["~model.figures", "seed=5"]],
    "settings of Hydra": [["hydra.job.name=one", "seed=1"], ["hydra.job.name=one", "seed=2"], ["hydra.job.name=two", "seed=2"]],
    "the same key twice": [["seed=1", "seed=2"], ["seed=3", "seed=4"]],
}  # fmt: skip


def composer():
    composed = compose_all(BASE)
    return Composer(composed.context, composed.config)


def outcome(compose):
    try:
        return OmegaConf.to_yaml(compose())
    except HydraException as error:
        return str(error)


@pytest.mark.parametrize("jobs", SWEEPS.values(), ids=SWEEPS)
def test_each_job_is_what_hydra_composes(jobs):
    own = composer()
    for job in [*jobs, *jobs]:
        overrides = [*BASE, *job]
        expected = outcome(lambda: own.loader.load_sweep_config(own.config, overrides))
        assert outcome(lambda: own.compose(overrides)) == expected


def test_jobs_that_differ_in_values_are_composed_once(monkeypatch):
    own, calls = composer(), []
    load = own.loader.load_sweep_config
    monkeypatch.setattr(own.loader, "load_sweep_config", lambda *arguments: calls.append(arguments) or load(*arguments))
    configs = [own.compose([*BASE, f"optim={optim}", f"seed={seed}"]) for optim in ("adam", "sgd") for seed in range(5)]
    assert len(calls) == 2 and [config.seed for config in configs] == [*range(5)] * 2
    configs[0].seed = 99  # a job's configuration is its own
    assert own.compose([*BASE, "optim=adam", "seed=0"]).seed == 0


def test_without_the_part_of_hydra_each_job_is_composed(monkeypatch):
    monkeypatch.setitem(sys.modules, "hydra._internal.config_loader_impl", None)
    own = composer()
    assert [own.compose([*BASE, f"seed={seed}"]).seed for seed in (1, 2)] == [1, 2]


def test_an_unknown_key_is_hydras_error_each_time():
    own = composer()
    for value in (1, 2):
        with pytest.raises(HydraException, match="modle"):
            own.compose([*BASE, f"modle.x={value}"])
