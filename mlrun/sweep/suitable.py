"""Leaves out the jobs of a sweep whose model is not for the problem of their data."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from mlrun.config import catalogue
from mlrun.errors import DataError, UserError

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig

AUTO = "auto"  # problem of a dataset that only its file decides


def suitable(jobs: Sequence[list[str]], context: HydraContext, config: DictConfig) -> list[list[str]]:
    """The jobs whose model fits the problem of their dataset.

    The data of an `auto` problem are read once for each dataset, in another process: the sweep's own imports nothing heavy.

    Args:
        jobs: overrides of each job.
        config: Hydra's configuration of the sweep.

    Raises:
        UserError: data cannot be used, or no model is left.
    """
    kept: list[list[str]] = []
    problems: dict[tuple[str, ...], str] = {}
    for job in jobs:
        of_data = tuple(override for override in job if override.lstrip("+").startswith(("dataset", "data_dir")))
        if of_data not in problems:
            problems[of_data] = _problem(context.config_loader.load_sweep_config(config, list(job)))
        model = next((value for key, _, value in (one.partition("=") for one in job) if key == "model"), None)
        entry = catalogue.find("model", model) if model else None
        if entry is None or catalogue.suits(problems[of_data], entry.get("fits") or []):
            kept.append(job)
    if not kept:
        raise UserError(f"none of these models is for {' or '.join(sorted(set(problems.values())))}")
    return kept


def read_table(path: str, target: str | None = None) -> tuple[str, list[str], list[tuple[str, str]]]:
    """What a table is for, read as a run would read it.

    Args:
        path: the file.
        target: the column to predict; None: the last one.

    Returns:
        Its problem, the names in its spec, and the lines of its summary.

    Raises:
        UserError: the file cannot be used.
    """
    from mlrun.config.compose import compose
    from mlrun.config.instantiate import plain
    from mlrun.experiment.stored import open_data

    cfg = plain(compose(["dataset=csv"]))
    cfg["dataset"] |= {"path": path, "target": target}
    data = open_data(cfg)
    return data.problem, [*data.spec, *cfg["dataset"]["facts"]], list(data.summary)


def _problem(composed: DictConfig) -> str:
    """The problem of a job's dataset; that of an `auto` dataset is read from its file."""
    cfg: Any = OmegaConf.to_container(composed, resolve=False)
    problem = (cfg.get("dataset") or {}).get("problem")
    if problem != AUTO:
        return str(problem)
    from mlrun.config.compose import without_hydra
    from mlrun.config.instantiate import plain

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_read, args=(plain(without_hydra(composed)), theirs))
    child.start()
    theirs.close()
    try:
        found, error = ours.recv()
    except EOFError:
        raise UserError("the data could not be read: the process that read them ended early") from None
    finally:
        child.join()
    if error:
        raise DataError(error)
    return found


def _read(cfg: dict[str, Any], answer: Connection) -> None:
    """In the other process: sends (problem, None), or (None, why the data cannot be used)."""
    from mlrun.experiment.stored import open_data

    try:
        answer.send((open_data(cfg).problem, None))
    except UserError as error:
        answer.send((None, str(error)))
