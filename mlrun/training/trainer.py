"""Lightning's Trainer, built from the settings of `trainer`."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from mlrun.config.instantiate import instantiate
from mlrun.errors import ConfigError
from mlrun.report.notify import notify
from mlrun.training.lightning_internals import install_lean_loops, installed, known, lean_loops_obstacle
from mlrun.training.sharded import SHARDED, Sharded, WholeInValidation

PASSED_ON = (  # keys of `trainer` that are Lightning's own
    "max_epochs", "max_time", "accelerator", "devices", "strategy", "precision", "accumulate_grad_batches",
    "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "fast_dev_run",
)  # fmt: skip

for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", module="lightning.*", message=".*does not have many workers.*")


class Trainer(lightning.pytorch.Trainer):
    """Lightning's Trainer, for a training that may end within an epoch."""

    max_updates: int | None = None  # `trainer.max_steps`; `Length` ends the training after that many

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Updates in the whole training; infinite where the length is not known."""
        total = super().estimated_stepping_batches
        total = math.inf if total < 0 else total
        return total if self.max_updates is None else min(total, self.max_updates)


def build_trainer(
    settings: Mapping[str, Any], callbacks: Sequence[Callback], directory: Path, accumulate: int = 1
) -> Trainer:
    """Lightning's Trainer without its progress bar and checkpoints, which `callbacks` replace.

    Args:
        settings: the node `trainer` of the configuration.
        callbacks: in the order in which Lightning calls them; those of `trainer.callbacks` are called first.
        directory: where Lightning may write.
        accumulate: batches per update, in addition to `accumulate_grad_batches`.

    Raises:
        ConfigError: for settings that Lightning or this machine refuses.
    """
    options = {key: settings[key] for key in PASSED_ON}
    options["accumulate_grad_batches"] *= accumulate
    if options["strategy"] == SHARDED:
        options |= {"strategy": Sharded(), "inference_mode": False}  # in which parameters cannot be gathered
        callbacks = [WholeInValidation(), *callbacks]
    own = _configured(settings, "callbacks", Callback)
    loggers = _configured(settings, "loggers", Logger)
    try:
        trainer = Trainer(
            **options,
            num_nodes=settings.get("num_nodes", 1),  # the configuration of an older run has none
            callbacks=[*own, *callbacks],
            logger=loggers or False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=directory,
        )
    # Lightning's MisconfigurationException or torch's own: no such accelerator, too many devices
    except Exception as error:
        hint = (
            " Use trainer=default, which takes what is there." if options["accelerator"] not in ("auto", "cpu") else ""
        )
        raise ConfigError(f"trainer: {' '.join(str(error).split())}{hint}") from error
    trainer.max_updates = settings["max_steps"]
    _choose_loops(
        trainer, settings["fast_loop"], "trainer.callbacks or trainer.loggers are set" if own or loggers else None
    )
    return trainer


def _configured(settings: Mapping[str, Any], key: str, kind: Any) -> list[Any]:
    """The callbacks or loggers of the configuration. Raises ConfigError for an object of another kind."""
    made = []
    for name, node in (settings.get(key) or {}).items():
        if node is None:  # removed on the command line
            continue
        one = instantiate(node, f"trainer.{key}.{name}")
        if not isinstance(one, kind):
            raise ConfigError(f"trainer.{key}.{name}: must be a node with the _target_ of a Lightning {kind.__name__}")
        made.append(one)
    return made


def _choose_loops(trainer: Trainer, fast_loop: bool | str, reason: str | None) -> None:
    """Lean loops, or Lightning's own. Both give the same result, bit for bit.

    Args:
        trainer: not yet fitted.
        reason: why the lean loops cannot be used, if that is known already.
        fast_loop: True: raise ConfigError where the lean loops cannot be used; "auto": use them where they can be.
    """
    if fast_loop is False:
        return
    obstacle = reason or lean_loops_obstacle(trainer)
    if obstacle is None:
        install_lean_loops(trainer, required=fast_loop is True)
    elif fast_loop is True:
        raise ConfigError(f"trainer.fast_loop=true: {obstacle}")
    elif not known():
        _notify_once(
            f"Lightning {installed()} is not a version that mlrun's fast training loops support: using Lightning's own"
        )


@cache
def _notify_once(message: str) -> None:
    """Of several folds or attempts in one process, the first prints it."""
    notify(message)


def refuse_automatic(settings: Mapping[str, Any], task: str) -> None:
    """Raises ConfigError for what Lightning does to gradients only where it makes the updates itself."""
    for key, usual in (("gradient_clip_val", None), ("accumulate_grad_batches", 1), ("auto_batch", False)):
        if settings.get(key, usual) != usual:
            raise ConfigError(
                f"trainer.{key}={settings[key]}: {task} performs its own updates; see the settings of the model (max_grad_norm, batch_size)"
            )
