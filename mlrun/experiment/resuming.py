"""Going on with a run that ended early: which run, from which checkpoint, and which settings may change."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from mlrun.config.identity import CHANGEABLE, flatten, is_network
from mlrun.errors import ConfigError, UserError
from mlrun.experiment import state as attempt

LENGTHS = {"total", "total_steps", "total_epochs", "T_max"}  # arguments by which a schedule learns how long the run is
# in a run's directory checkpoints/, from the one to be preferred
CHECKPOINTS = ("last.ckpt", "previous.ckpt", "best.ckpt", "last.json")
REASONS = (  # of what may not change; the first that the key begins with
    ("model", "the checkpoint's weights belong to the model as it was"),
    ("optim", "the checkpoint's optimizer state belongs to these settings"),
    ("scheduler", "the schedule was planned for the whole run"),
    ("augment", "the order of the data and what is done to them stay as they were begun"),
    ("dataset", "the order of the data and what is done to them stay as they were begun"),
    ("seed", "the run was begun with its seed"),
    ("tracking", "an MLflow run stays where it is"),
    ("hydra", "the run goes on in its own directory"),
    ("trainer", "it decides what is computed"),
)


@dataclass
class Stored:
    """A run as its directory holds it."""

    directory: Path
    cfg: dict
    overrides: list[str]
    record: dict
    checkpoint: Path | None

    @property
    def is_finished(self) -> bool:
        return self.record.get("status") == "FINISHED"


def find(run: str) -> Stored:
    """A run by its directory, a checkpoint in it, or its MLflow id. Raises UserError."""
    path, checkpoint = Path(run).expanduser(), None
    if path.is_file() and path.parent.name == "checkpoints":
        directory, checkpoint = path.parent.parent, path
    elif path.is_dir():
        directory = path
    elif re.fullmatch("[0-9a-f]{32}", run):
        directory = _directory_of(run)
    elif path.is_file():
        raise UserError(
            f"{run}: a checkpoint is gone on from in its run's directory (DIR/checkpoints/); as a start for a new run: model.init_from={run}"
        )
    else:
        raise UserError(f"{run}: no such run; give its directory, a checkpoint in it, or its MLflow id")
    directory = directory.resolve()
    folder = directory / "config"
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{run}: there is no config/config.yaml in it, so this is not the directory of a run")
    cfg = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    overrides = yaml.safe_load((folder / "overrides.yaml").read_text(encoding="utf-8")) or []
    record = attempt.read(directory)
    return Stored(
        directory, cfg, overrides, record, checkpoint.resolve() if checkpoint else newest_checkpoint(directory)
    )


def _directory_of(run_id: str) -> Path:
    from mlrun.tracking.read import run_directory
    from mlrun.tracking.store import tracking_uri

    found = run_directory(run_id)
    if found is None:
        raise UserError(f"{run_id}: there is no such run at {tracking_uri()}")
    if not found or not Path(found).is_dir():
        raise UserError(
            f"{run_id}: its directory is not here{f' ({found})' if found else ''}; only where it was begun can a run be gone on with"
        )
    return Path(found)


def newest_checkpoint(directory: Path) -> Path | None:
    for name in CHECKPOINTS:
        if (directory / "checkpoints" / name).exists():
            return directory / "checkpoints" / name
    return None


def changed(stored: Stored, overrides: list[str]) -> dict:
    """The run's configuration with some settings changed. Raises ConfigError with a reason for each that may not."""
    if not overrides:
        return stored.cfg
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from mlrun.config.validate import validate

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
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
            f"what can change is {', '.join(CHANGEABLE)}; with more, begin a new run (model.init_from=RUN takes the weights)"
        )
    problems += [] if problems else validate(cfg, overrides)[0]
    if problems:
        raise ConfigError(problems)
    return OmegaConf.to_container(cfg)


def _refusal(cfg: dict, key: str, override) -> str | None:
    """Why a resumed run cannot have this setting, None where it can."""
    if override.is_sweep_override():
        return "one run goes on, not several"
    if key not in CHANGEABLE:
        from mlrun.config.validate import nearest

        reason = next((why for begin, why in REASONS if key.split(".")[0] == begin), None)
        near = "" if key in flatten(cfg) or key in cfg else nearest(key, CHANGEABLE)
        return f"there is no such key{near}" if near or reason is None else reason
    if key.startswith("trainer.") and not is_network(cfg["model"]):
        return "this model is not trained by the trainer"
    if key != "trainer.max_epochs":
        return None
    scheduler = cfg.get("scheduler") or {}
    if scheduler.get("_target_"):
        from mlrun.config.signatures import signature

        takes = signature(scheduler["_target_"])
        if takes and LENGTHS & set(takes.by_name):
            name = scheduler["_target_"].rpartition(".")[2]
            return f"{name} was planned for {cfg['trainer']['max_epochs']} epochs, and the learning rate would jump. Begin a new run with model.init_from=RUN"
    if "mlrun.data.environments.exploration." in str(cfg["model"]):
        return f"exploration was planned over {cfg['trainer']['max_epochs']} epochs, and would jump back"
    return None


def go_on(stored: Stored, overrides: list[str]) -> int:
    """Runs the rest of a run, into its directory and its MLflow run. Returns the exit status."""
    cfg = changed(stored, overrides)
    where = _shown(stored.directory)
    if stored.is_finished and not overrides:
        more = (
            f"; for more epochs: mlrun resume {where} trainer.max_epochs={2 * cfg['trainer']['max_epochs']}"
            if is_network(cfg["model"])
            else ""
        )
        print(f"mlrun: this run is finished, there is nothing to go on with{more}")
        return 0
    _check_readable(stored, bool(cfg.get("trust")))
    _enter(stored)
    follows = int(os.environ.get("LOCAL_RANK", 0)) > 0
    if follows:
        from mlrun.sweep.server import die_with_parent

        die_with_parent(os.getppid())
    _log_to(stored.directory / "mlrun.log")
    from mlrun.experiment.run import run
    from mlrun.report import silent, terminal

    if not follows:
        print(
            f"going on from {_shown(stored.checkpoint)}"
            if stored.checkpoint
            else "there is no checkpoint yet: beginning anew, in the same run",
            flush=True,
        )
    result = run(
        cfg, stored.directory, [*stored.overrides, *overrides], report=silent if follows else terminal, run_id=stored.record.get("run_id"),
        resume=stored.checkpoint,
    )  # fmt: skip
    return 0 if result.recorded else 1


def readable(checkpoint: Path, trust: bool = False) -> bool:
    """Whether it is there and whole."""
    if not checkpoint.exists() or checkpoint.suffix != ".ckpt" or checkpoint.is_dir():
        return checkpoint.exists()
    from mlrun.training.checkpoints import read  # imports torch

    try:
        return bool(read(checkpoint, trust))
    except UserError:
        return False


def _check_readable(stored: Stored, trust: bool) -> None:
    """Refuses a damaged checkpoint before anything is begun, and offers another one."""
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
            raise UserError(f"{error}. There is one from after epoch {epochs}: mlrun resume {_shown(other)}") from None
        raise UserError(
            f"{error}. There is no other; begin anew, or remove the directory checkpoints/ to begin anew in the same run"
        ) from None


def _enter(stored: Stored) -> None:
    """Works where the run was begun: there lie its data, its Python and its database."""
    cwd = stored.record.get("cwd")
    if cwd:
        try:
            os.chdir(cwd)
        except OSError as error:
            raise UserError(f"the run was begun in {cwd}, which is not there: {error.strerror}") from None
        if cwd not in sys.path:
            sys.path.append(cwd)
    os.environ["MLFLOW_TRACKING_URI"] = attempt.tracking_address(stored.record)


def _log_to(path: Path) -> None:
    """As conf/hydra/job_logging/mlrun.yaml, behind what is there."""
    import logging

    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def _shown(path: Path) -> str:
    """Relative where that is shorter, quoted for the shell."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if len(relative) < len(str(path)) else str(path))
