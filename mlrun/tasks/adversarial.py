"""Adversarial training: two sides with an optimizer each, updated in turn by the task itself."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from mlrun.tasks.task import Task


class Adversarial(Task):
    """Does for several optimizers what Lightning does for one. A subclass sets `automatic_optimization = False`, calls `descend` for every
    update and `step_schedules("step")` at the end of `training_step`."""

    @property
    def progress(self) -> float:
        """The fraction of training that is done; Lightning counts a step of each optimizer."""
        return super().progress / len(cast(list[Any], self.optimizers()))

    def descend(self, optimizer: Any, loss: Tensor) -> None:
        """One update of the optimizer's parameters. optimizer: one of `self.optimizers()`."""
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()

    def step_schedules(self, interval: str) -> None:
        """Advances the schedules of this interval, "step" or "epoch"."""
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == interval:
                config.scheduler.step(*((self.trainer.callback_metrics[config.monitor],) if config.monitor else ()))

    def on_train_epoch_end(self) -> None:
        self.step_schedules("epoch")
