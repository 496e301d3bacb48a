"""Resumes a run that ended early: which run, from which checkpoint, and which settings may change."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlrun.config.identity import CHANGEABLE, flatten, is_network
from mlrun.config.passwords import masked
from mlrun.data.readers.trust import has_signature
from mlrun.errors import ConfigError, UserError
from mlrun.experiment.log import log_to
from mlrun.experiment.processes import die_with_parent, is_follower
from mlrun.experiment.state import newest_checkpoint
from mlrun.experiment.stored import read_config, read_overrides
from mlrun.tracking.run_directory import RECORD, locked, read_record, tracking_address, write_record

if TYPE_CHECKING:
    from mlrun.config.hydra_internals import Override

LENGTHS = {"total", "total_steps", "total_epochs", "T_max"}  # arguments that give a schedule the length of the run
REASONS = {  # first part of a key -> why it may not change
    "model": "the checkpoint's weights belong to the model as it was",
    "optim": "the checkpoint's optimizer state belongs to these settings",
    "scheduler": "the schedule was planned for the whole run",
    "augment": "the data must keep their order and their augmentation",
    "dataset": "the data must keep their order and their augmentation",
    "seed": "the run was started with its seed",
    "tracking": "an MLflow run stays where it is",
    "hydra": "the run resumes in its own directory",
    "trainer": "it decides what is computed",
}


@dataclass
class Stored:
    """A run as its directory holds it."""

    directory: Path
    cfg: dict[str, Any]
    overrides: list[str]
    record: dict[str, Any]  # the content of run.json
    checkpoint: Path | None  # from which it resumes
    chosen: Path | None = None  # the checkpoint, if the user has named it

    @property
    def is_finished(self) -> bool:
        return self.record.get("status") == "FINISHED"


def find(run: str, trust: bool = False) -> Stored:
    """A run by its directory, a checkpoint in it, or its MLflow id.

    Args:
        run: one of these.
        trust: also a run of somebody else whose configuration names code of its own, or that was started in another directory.

    Raises:
        UserError: there is no such run, its files are damaged, or it belongs to somebody else and is not trusted.
    """
    path, checkpoint = Path(run).expanduser(), None
    if path.is_file() and path.parent.name == "checkpoints":
        directory, checkpoint = path.parent.parent, path
    elif path.is_dir():
        directory = path
    elif re.fullmatch("[0-9a-f]{32}", run):
        directory = _directory_of(run)
    elif path.is_file():
        raise UserError(
            f"{run}: a run can resume only from a checkpoint in its own directory (DIR/checkpoints/). "
            f"To start a new run from this file: model.init_from={run}"
        )
    else:
        raise UserError(f"{run}: no such run; give its directory, a checkpoint in it, or its MLflow id")
    directory = directory.resolve()
    folder = directory / "config"
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{run} is not the directory of a run: it has no config/config.yaml")
    cfg, overrides = read_config(folder / "config.yaml", trust), read_overrides(folder / "overrides.yaml")
    record = read_record(directory)
    if record.get("cwd", os.getcwd()) != os.getcwd() and not (trust or has_signature(record)):
        raise UserError(
            f"{directory / RECORD} was not written by you, and names the directory {record['cwd']}, whose Python files would be run. "
            "Rejected. If you trust its source, add trust=true"
        )
    chosen = checkpoint.resolve() if checkpoint else None
    return Stored(directory, cfg, overrides, record, chosen or newest_checkpoint(directory), chosen)


def _directory_of(run_id: str) -> Path:
    from mlrun.tracking.read import directory_of
    from mlrun.tracking.store import tracking_uri

    found = directory_of(run_id)
    if found is None:
        raise UserError(f"{run_id}: there is no such run at {masked(tracking_uri())}")
    if found and Path(found).is_dir():
        return Path(found)
    return _restored(run_id, found)


def _restored(run_id: str, found: str) -> Path:
    """The directory of a run that began on another machine, made from what it has uploaded to MLflow.

    Args:
        found: its directory there; "" if that was not recorded.
    """
    from mlrun.tracking.artifacts import fetch_checkpoints, fetch_configuration

    directory = Path("outputs", Path(found).name or run_id)
    if directory.exists() and read_record(directory).get("run_id") == run_id:
        return directory  # made by an earlier call
    if directory.exists():
        directory = directory.with_name(f"{directory.name}_{run_id[:8]}")
    with TemporaryDirectory() as folder:
        whole = Path(folder, "run")
        with suppress(OSError):
            fetch_configuration(run_id, whole)
            fetch_checkpoints(run_id, whole / "checkpoints")
        if newest_checkpoint(whole) is None or not (whole / "config" / "config.yaml").is_file():
            raise UserError(
                f"{run_id}: its directory{f' {found}' if found else ''} is not on this machine, and MLflow has no checkpoint of it "
                "(trainer.upload_checkpoints=N uploads one after every N epochs); it can resume only where it was started"
            )
        directory.parent.mkdir(exist_ok=True)
        shutil.copytree(whole, directory)
    write_record(directory, {"run_id": run_id})
    print(f"mlrun: {found or run_id} is not on this machine: restored to {_shown(directory)} from MLflow", flush=True)
    return directory


def changed(stored: Stored, overrides: list[str]) -> dict[str, Any]:
    """The run's configuration with some settings changed. Raises ConfigError with a reason for each setting that may not change."""
    if not overrides:
        return stored.cfg
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from mlrun.config.hydra_internals import parse_overrides
    from mlrun.config.validate import validate

    try:
        parsed = parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    problems, cfg = [], OmegaConf.create(stored.cfg)
    for text, override in zip(overrides, parsed, strict=True):
        key = override.key_or_group
        reason = _refusal(stored.cfg, key, override)
        if reason:
            problems.append(f"{text}: {reason}")
        else:
            OmegaConf.update(cfg, key, override.value(), force_add=True)
    if any(": there is no such key" not in problem for problem in problems):
        problems.append(
            f"a resumed run can change only {', '.join(CHANGEABLE)}; for other changes start a new run (model.init_from=RUN takes over the weights)"
        )
    problems += [] if problems else validate(cfg, overrides)[0]
    if problems:
        raise ConfigError(problems)
    container: Any = OmegaConf.to_container(cfg)
    return container


def _refusal(cfg: dict[str, Any], key: str, override: Override) -> str | None:
    """Why a resumed run cannot have this setting; None if it can."""
    if override.is_sweep_override():
        return "only one run resumes, not a sweep"
    if key not in CHANGEABLE:
        from mlrun.config.validate import nearest

        reason = REASONS.get(key.partition(".")[0])
        near = "" if key in flatten(cfg) or key in cfg else nearest(key, CHANGEABLE)
        return f"there is no such key{near}" if near or reason is None else reason
    if key.startswith("trainer.") and not is_network(cfg["model"]):
        return "this model is not trained by the trainer"
    if key not in ("trainer.max_epochs", "trainer.min_steps", "trainer.max_steps"):
        return None
    scheduler = cfg.get("scheduler") or {}
    if scheduler.get("_target_"):
        from mlrun.config.signatures import signature

        takes = signature(scheduler["_target_"])
        if takes and LENGTHS & set(takes.by_name):
            name = scheduler["_target_"].rpartition(".")[2]
            return (
                f"{name} was planned for {cfg['trainer']['max_epochs']} epochs, and the learning rate would jump. "
                "Start a new run with model.init_from=RUN"
            )
    if "mlrun.generation.annealing." in str(cfg["model"]):
        return f"the model anneals a probability over {cfg['trainer']['max_epochs']} epochs, and it would jump back"
    return None


def resume_run(stored: Stored, overrides: list[str]) -> int:
    """Runs the rest of a run in the same directory and MLflow run.

    Args:
        overrides: settings to change.

    Returns:
        The exit status.

    Raises:
        UserError: another process works on the run, the checkpoint is damaged, or the directory in which the run was started is missing.
        ConfigError: a setting may not change.
    """
    if is_follower():  # the first process holds the lock
        overrides = [
            text for text in overrides if not text.startswith("hydra.")
        ]  # Lightning adds them inside a job of a sweep
        return _resume(stored, overrides, follows=True)
    with locked(stored.directory):
        # another process may have resumed the run since `stored` was read
        found = find(str(stored.chosen or stored.directory), bool(stored.cfg["trust"]))
        return _resume(found, overrides, follows=False)


def _resume(stored: Stored, overrides: list[str], follows: bool) -> int:
    cfg = changed(stored, overrides)
    where = _shown(stored.directory)
    if stored.is_finished and not [override for override in overrides if not override.startswith("trust=")]:
        more = (
            f"; for more epochs: mlrun resume {where} trainer.max_epochs={2 * cfg['trainer']['max_epochs']}"
            if is_network(cfg["model"])
            else ""
        )
        print(f"mlrun: this run has finished, there is nothing to resume{more}")
        return 0
    _check_readable(stored, bool(cfg.get("trust")))
    _enter(stored)
    if follows:
        die_with_parent(os.getppid())
    log_to(stored.directory / "mlrun.log")
    from mlrun.experiment.run import run
    from mlrun.report import silent, terminal

    if not follows:
        print(
            f"resuming from {_shown(stored.checkpoint)}"
            if stored.checkpoint
            else "there is no checkpoint yet: starting over, in the same run",
            flush=True,
        )
    result = run(
        cfg, stored.directory, [*stored.overrides, *overrides], report=silent if follows else terminal, run_id=stored.record.get("run_id"),
        resume=stored.checkpoint, is_locked=True,
    )  # fmt: skip
    return 0 if result.recorded else 1


def _check_readable(stored: Stored, trust: bool) -> None:
    """Raises UserError for a damaged checkpoint before any work, and names an intact one."""
    if stored.checkpoint is None or stored.checkpoint.suffix != ".ckpt" or stored.checkpoint.is_dir():
        return
    from mlrun.training.checkpoints import OURS, read

    try:
        read(stored.checkpoint, trust)
    except UserError as error:
        for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
            other = stored.directory / "checkpoints" / name
            if other == stored.checkpoint or not other.is_file():
                continue
            try:
                epochs = read(other, trust)[OURS]["epochs"]
            except UserError:
                continue
            raise UserError(
                f"{error}. The checkpoint of epoch {epochs} is intact: mlrun resume {_shown(other)}"
            ) from None
        raise UserError(
            f"{error}. There is no other checkpoint: start a new run, or remove the directory checkpoints/ to start over in the same run"
        ) from None


def _enter(stored: Stored) -> None:
    """Changes to the directory in which the run was started: relative paths, the user's Python and the database belong to it."""
    cwd = stored.record.get("cwd")
    if cwd:
        try:
            os.chdir(cwd)
        except OSError as error:
            raise UserError(f"the run was started in {cwd}, which cannot be entered: {error.strerror}") from None
        if cwd not in sys.path:
            sys.path.append(cwd)
    os.environ["MLFLOW_TRACKING_URI"] = tracking_address(stored.record, bool(stored.cfg["trust"]))


def _shown(path: Path) -> str:
    """The path quoted for the shell, relative if that is shorter."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if len(relative) < len(str(path)) else str(path))
