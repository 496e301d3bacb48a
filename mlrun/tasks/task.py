"""What every task of a network shares: optimizers from YAML, penalties, and metrics that are summed on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from mlrun.adapt.adaptation import Adaptation
from mlrun.adapt.steps import Step

if TYPE_CHECKING:
    from mlrun.training.optimization import Optimization


class Task(LightningModule):
    """A learning problem: what is fed, what is minimized, what is measured.

    A subclass says which metric to watch (`monitor`, `mode`), writes `training_step` and `validation_step`, calls `tally` in them, and says
    in `evaluate` and `figures` what the final model is measured by. The backend sets `optimization` and `data` before training. With several optimizers it overrides `configure_optimizers`
    and asks `self.optimization` for each.
    """

    monitor: str
    mode: str
    optimization: Optimization
    adaptation: Adaptation = Adaptation()  # set before training; without steps every parameter is trained alike
    data = None  # the DataModule while training
    splits_epochs = True  # False: training goes on only from the end of an epoch, because there is state that `on_save_checkpoint` does not keep

    predicts_targets = (
        True  # False: `predict` gives what `predict_step` says, as it is; not labels, nor values in the target's unit
    )

    def __init__(self):
        super().__init__()
        self._sums: dict[str, dict[str, torch.Tensor]] = {}

    def own_steps(self) -> Sequence[Step]:
        """Steps of adaptation that the method itself asks for, such as no weight decay for some parameters."""
        return ()

    def parameter_groups(self, part: nn.Module | None = None, lr: float | None = None) -> list[dict[str, Any]]:
        """Groups of parameters for an optimizer, with the settings that the steps of adaptation give them.

        Args:
            part: the module that the optimizer trains, for a task with several optimizers; None: the whole task.
            lr: learning rate of this optimizer; None: `optim.lr`.
        """
        lr = (self.optimization.optim or {}).get("lr") if lr is None else lr
        return self.adaptation.parameter_groups(self, lr, part=part, steps=self.own_steps())

    def configure_optimizers(self):
        optimizer = self.optimization.optimizer(self.parameter_groups())
        scheduler = self.optimization.scheduler(
            optimizer,
            total_steps=self.trainer.estimated_stepping_batches,
            total_epochs=self.trainer.max_epochs,
            monitor=self.monitor,
            mode=self.mode,
        )
        return {"optimizer": optimizer, **({"lr_scheduler": scheduler} if scheduler else {})}

    def on_before_optimizer_step(self, optimizer):
        self.optimization.add_penalty_gradients(self)

    def train_loader(self, data, device, shard):
        """What training is fed with; shard: (rank, ranks). A task that makes its own training data overrides this."""
        return data.loader("train", device, shuffle=True, shard=shard)

    def tally(self, stage: str, count: int, **sums: torch.Tensor) -> None:
        """Adds sums over `count` samples to the stage's means; stays on the device, so that no step waits for the GPU."""
        stage_sums = self._sums.setdefault(stage, {})
        stage_sums["count"] = stage_sums.get("count", 0) + count
        for name, value in sums.items():
            stage_sums[name] = stage_sums[name] + value if name in stage_sums else value

    def means(self, stage: str) -> dict[str, float]:
        """The means tallied since the last call; one transfer from the device."""
        sums = self._sums.pop(stage, {})
        if not sums:
            return {}
        values = torch.stack(
            [torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in sums.values()]
        )
        if self.trainer.world_size > 1:
            values = self.all_gather(values).sum(0)
        totals = dict(zip(sums, values.tolist(), strict=True))
        count = totals.pop("count")
        return {name: total / count for name, total in totals.items()}

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """Metrics from an epoch's means; a task that reports a function of a mean (a root, an exponential) overrides this."""
        return means

    def epoch_metrics(self, stage: str) -> dict[str, float]:
        """The stage's metrics since the last call, named "train/loss" and so on."""
        return {f"{stage}/{name}": value for name, value in self.summarize(self.means(stage)).items()}

    def on_validation_epoch_end(self):
        self.log_dict(self.epoch_metrics("val"))  # where checkpoints, early stopping and plateau schedules find it

    def evaluate(self, loader, data) -> dict[str, float]:
        """Metrics of the trained network on a part of the data, without prefix. `loader` yields batches on the network's device."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is evaluated")

    def epoch_pictures(self, epoch: int, last: bool):
        """Yields (name, Figure or picture) after an epoch of training, counted from 1; `self.data` is there."""
        yield from ()

    def figures(self, data, part):
        """Yields (name, Figure) of what the last `evaluate` saw, which was `part` of the data."""
        yield from ()
