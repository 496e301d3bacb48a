"""Lightning's Trainer, built from the settings of `trainer`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from mlrun.errors import ConfigError

LEAN_LOOPS = "2.6."  # Lightning with the inner loops that `mlrun.training.loops` knows; another version runs its own
PASSED_ON = (  # keys of `trainer` that are Lightning's own
    "max_epochs", "max_time", "accelerator", "devices", "strategy", "precision", "accumulate_grad_batches",
    "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "fast_dev_run",
)  # fmt: skip

for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", module="lightning.*", message=".*does not have many workers.*")


def build_trainer(
    settings: Mapping[str, Any], callbacks: Sequence[Callback], directory: Path, accumulate: int = 1
) -> Trainer:
    """Lightning's Trainer without its logger, progress bar and checkpoints, which `callbacks` replace.

    Args:
        settings: the node `trainer` of the configuration.
        callbacks: in the order in which Lightning calls them.
        directory: where Lightning may write.
        accumulate: batches per update, in addition to `accumulate_grad_batches`.

    Raises:
        ConfigError: for settings that Lightning or this machine refuses.
    """
    options = {key: settings[key] for key in PASSED_ON}
    options["accumulate_grad_batches"] *= accumulate
    try:
        trainer = Trainer(
            **options,
            callbacks=list(callbacks),
            logger=False,
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
    if version("lightning").startswith(LEAN_LOOPS):
        from mlrun.training import loops

        loops.install(trainer)
    return trainer


def refuse_automatic(settings: Mapping[str, Any], task: str) -> None:
    """Raises ConfigError for what Lightning does to gradients only where it makes the updates itself."""
    for key, usual in (("gradient_clip_val", None), ("accumulate_grad_batches", 1), ("auto_batch", False)):
        if settings.get(key, usual) != usual:
            raise ConfigError(
                f"trainer.{key}={settings[key]}: {task} makes its updates itself; see the settings of the model (max_grad_norm, batch_size)"
            )
