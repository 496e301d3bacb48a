"""Adaptation while a network trains: what a run gives to its steps, and the callback that takes those of each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mlrun.adapt.adaptation import Adaptation
from mlrun.adapt.sources import ADAPTER_OF
from mlrun.data.readers.tensors import WEIGHTS
from mlrun.tracking.artifacts import checkpoint_of, stored_model


class Adapting(Callback):
    """Takes the steps of an adaptation that are due at the start of an epoch, and keeps weights that stay as they are out of checkpoints."""

    def __init__(self, adaptation: Adaptation):
        self.adaptation = adaptation

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.adaptation.epoch(trainer.current_epoch)  # a run that resumes within an epoch has no start of one

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.adaptation.stores_adapter:
            checkpoint["state_dict"] = self.adaptation.adapter_state(pl_module)
            checkpoint[ADAPTER_OF] = self.adaptation.sources

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.adaptation.epoch(trainer.current_epoch)


def find_run(run_id: str) -> Path | None:
    """The model of an MLflow run as a local directory, with its recipe; of a run that did not finish, its best checkpoint.

    None if there is no such run, or if it has neither.
    """
    try:
        directory = stored_model(run_id)
    except OSError:
        return checkpoint_of(run_id)
    weights = sorted(directory.rglob(WEIGHTS))
    return weights[0].parent if weights else checkpoint_of(run_id)
