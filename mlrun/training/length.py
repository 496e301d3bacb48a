"""How long a training is: `trainer.max_epochs`, and `trainer.min_steps` and `trainer.max_steps` in updates."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mlrun.errors import ConfigError
from mlrun.training.lightning_internals import set_max_epochs


class Length(Callback):
    """Sets the number of epochs before optimizers and schedules are made, counts updates, and ends training after the last one.

    An update is a batch whose gradients are applied; with accumulation several batches make one. A task that makes its
    updates itself counts one per batch.

    Lightning's own `max_steps` is not used: it leaves out the validation of an epoch that it cuts short, and counts a step for
    every optimizer of a task that performs its own updates.

    Args:
        max_epochs: epochs without the two others.
        min_steps: more epochs are trained where `max_epochs` gives fewer updates than this.
        max_steps: training ends after this many updates, with a validation, if it has not ended before. Takes precedence over
            `min_steps`, which a model may suggest.
    """

    def __init__(self, max_epochs: int, min_steps: int | None = None, max_steps: int | None = None):
        self.max_epochs, self.min_steps, self.max_steps = max_epochs, min_steps, max_steps
        self.epochs = 0  # finished
        self.before = 0  # updates in these
        self.within = 0  # updates in the epoch under way
        self._trainer: Trainer | None = None

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        self._trainer = trainer
        self._plan(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "before": self.before, "within": self.within}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of a checkpoint that training resumes from. Raises ConfigError if more is done already than the settings allow."""
        self.epochs, self.before, self.within = state["epochs"], state["before"], state["within"]
        if self._trainer is not None:
            self._plan(self._trainer)

    def _plan(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by a connector
            return
        updates, epochs = self.before + self.within, self.max_epochs
        if self.min_steps is not None or self.max_steps is not None:
            _ = trainer.estimated_stepping_batches  # has Lightning create the training loader
            batches = trainer.num_training_batches
            if 0 < batches < math.inf:
                per_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
                if self.min_steps is not None:
                    epochs = max(epochs, self.epochs + math.ceil((self.min_steps - self.before) / per_epoch))
                if self.max_steps is not None:
                    epochs = min(epochs, self.epochs + math.ceil((self.max_steps - self.before) / per_epoch))
        if self.max_steps is not None and (updates > self.max_steps or self.within and updates == self.max_steps):
            raise ConfigError(f"trainer.max_steps={self.max_steps}: {updates} updates are done already")
        if epochs < self.epochs:
            raise ConfigError(f"trainer.max_epochs={self.max_epochs}: {self.epochs} epochs are done already")
        if epochs != trainer.max_epochs:
            set_max_epochs(trainer, epochs)

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if (batch_index + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        self.within += 1
        if self.max_steps is not None and self.before + self.within >= self.max_steps:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.epochs, self.before, self.within = self.epochs + 1, self.before + self.within, 0
