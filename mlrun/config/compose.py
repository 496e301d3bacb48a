"""Composes configurations with Hydra: for the command line, for tests, and for every job that is described by overrides."""

from __future__ import annotations

import os
import pickle
import secrets
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf, open_dict

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from mlrun.config.hydra_internals import Composed

_PACKAGE = Path(__file__).resolve().parent.parent
# In an installed wheel conf/ lies inside the package, in a checkout beside it.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
CONFIG_NAME = "config"


def user_conf() -> Path | None:
    """`./conf` of the working directory, which extends every group; None if it is absent or the packaged one."""
    here = Path.cwd() / "conf"
    return here if here.is_dir() and here.resolve() != CONF.resolve() else None


def _stamp() -> str:
    """Start time and a random part, so that runs that start in the same second write to different directories."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(2)}"


def register_resolvers() -> None:
    """Makes `${mlrun.stamp:}` known, the unique part of a run's directory."""
    if not OmegaConf.has_resolver("mlrun.stamp"):
        OmegaConf.register_new_resolver("mlrun.stamp", _stamp, use_cache=True)


def new_run_directory(cfg: DictConfig) -> Path:
    """The directory of a run that starts now, named as `hydra.run.dir` of config.yaml names it."""
    return Path("outputs") / f"{_stamp()}_{cfg.model.name}_{cfg.dataset.name}"


def compose(overrides: list[str], config_dir: str | None = None, config_name: str = CONFIG_NAME) -> DictConfig:
    """The configuration of one run, as `mlrun OVERRIDES` composes it, interpolations of `hydra:` resolved.

    Raises:
        ConfigError: `hydra.job.chdir=true`.
        Exception: see `compose_all`.
    """
    return without_hydra(compose_all(overrides, config_dir, config_name).config)


def compose_all(overrides: list[str], config_dir: str | None = None, config_name: str = CONFIG_NAME) -> Composed:
    """The configuration of one run with the node `hydra`.

    Raises:
        hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException, yaml.YAMLError, ValueError: the overrides are
            invalid; `mlrun.config.explain` turns these into messages.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from mlrun.config.hydra_internals import Composed, context_of, own_composition

    register_resolvers()
    overrides = list(overrides)
    if config_dir is not None:
        overrides.append(f"hydra.searchpath=[file://{os.path.abspath(config_dir)}]")
    with own_composition(), initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra_compose(config_name, overrides=overrides, return_hydra_config=True)
        return Composed(cfg, context_of(cfg))


def without_hydra(cfg: DictConfig) -> DictConfig:
    """The job's part of a composed configuration, with the names of the chosen model and dataset.

    Raises:
        ConfigError: `hydra.job.chdir=true`.
    """
    choices = cfg.hydra.runtime.choices
    if cfg.hydra.job.chdir:  # every run would create its own database, and relative paths would lead elsewhere
        raise ConfigError(
            "hydra.job.chdir=true: mlflow.db and relative paths belong to the directory where mlrun is started; hydra.run.dir=DIR sets where a run writes"
        )
    cfg = pickle.loads(pickle.dumps(cfg))  # faster than cfg.copy(), for every job of a sweep
    with open_dict(cfg):
        cfg.pop("hydra")
    for group in ("model", "dataset"):
        if OmegaConf.is_dict(cfg.get(group)):
            with open_dict(cfg):
                cfg[group].name = choices[group]
    return cfg
