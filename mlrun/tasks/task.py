"""Base class of all tasks: a learning problem is a loss and a prediction."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from mlrun.adapt.adaptation import Adaptation
from mlrun.adapt.step import Step
from mlrun.data.batches import Batch
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.networks.sharding import shard

if TYPE_CHECKING:
    from mlrun.data.batches import Batches
    from mlrun.data.module import DataModule
    from mlrun.data.preprocess.preprocessor import Preprocessor
    from mlrun.tasks.validation import Validation
    from mlrun.training.optimization import Optimization

# name -> tensor (rows, ...) or list of tensors; `Preprocessor.decode` lists the names
Outputs = dict[str, Any]


class Loss(NamedTuple):
    """The loss of a batch, and the metrics reported with it.

    value: mean over `count` items, with gradient. sums: metric -> sum over the items, without gradient; None: the loss alone.
    """

    value: Tensor
    count: int | Tensor  # type: ignore[assignment]  # hides tuple.count
    sums: dict[str, Tensor] | None = None


class Task(LightningModule):
    """A learning problem. A subclass writes `loss` and `predict`; everything else has a default.

    The learner sets `data`, `preprocessor`, `optimization` and `adaptation` before training. A task with manual updates or
    several optimizers overrides `training_step` and `configure_optimizers`.
    """

    # metrics that `loss` reports, with their direction
    metrics: ClassVar[Mapping[str, Better]] = {"loss": Better.SMALLER}
    # the validation metric that selects the best epoch, unless the model's YAML names another
    monitor: str = "loss"
    is_thread_safe: bool = True  # whether several threads may call `predict` at once
    prediction_rows: int | None = None  # most rows per call of `predict`; None: depends on the size of a row
    supports_mid_epoch_resume: bool = True  # False if there is state that `on_save_checkpoint` does not save
    open_set: bool = False  # whether a trained model also reads examples of classes that training did not have
    # what a trained model can be asked for besides predictions of rows: name -> dotted path of its `Query`
    queries: ClassVar[Mapping[str, str]] = {}

    data: DataModule | None = None
    preprocessor: Preprocessor | None = None
    optimization: Optimization
    adaptation: Adaptation = Adaptation()  # no steps: all parameters are trained alike
    validation: Validation | None = None  # runs evaluators after every epoch
    network: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, dict[str, Any]] = {}
        self._fed: tuple[str, ...] | None = None

    # --- what a subclass defines -------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Loss:
        """The loss of a batch."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def predict(self, batch: Batch) -> Outputs:
        """The model's outputs for a batch, which may lack targets. Called in evaluation mode without gradients."""
        raise NotImplementedError(f"{type(self).__name__} makes no predictions for rows")

    def summarize(self, means: dict[str, float]) -> dict[str, float]:
        """Metrics from an epoch's means; a task that reports a function of a mean (a root, an exponential) overrides this."""
        return means

    def weigh_classes(self, weights: Sequence[float]) -> None:
        """Weighs the rows of each class in the loss. weights: (classes,). A task that learns classes overrides this.

        Raises:
            ConfigError: the task has no classes to weigh.
        """
        raise ConfigError(f"model.class_weight: {type(self).__name__} does not minimize a loss of classes")

    def doubts(self, max_epochs: int) -> list[str]:
        """Warnings before training about settings that are valid but probably unintended. max_epochs: of the training."""
        return []

    def adapted(self) -> None:
        """Called once the adaptation has changed the networks. A task that holds copies of them overrides this."""

    def train_loader(self, data: DataModule, device: torch.device, shard: tuple[int, int]) -> Batches:
        """The training batches. shard: (rank, ranks). A task that generates its own training data overrides this."""
        return data.loader("train", self.preprocessor, device, shuffle=True, shard=shard)

    def loader(self, data: DataModule, part: str, device: torch.device, shard: tuple[int, int]) -> Batches | None:
        """The batches of a part for validation and evaluation, None if it is empty. A task with batches of its own overrides this too."""
        return data.loader(part, self.preprocessor, device, shard=shard)

    # --- feeding a network -------------------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> Any:
        """Output of `self.network` for the inputs of a batch, passed by the names of `forward`'s arguments, or else the first input alone.

        For a `transformers` model, which returns an object, its `logits`.
        """
        if self._fed is None:
            self._fed = input_names(self.network, batch, self.preprocessor)
        if self._fed:
            output = self.network(**{name: batch[name] for name in self._fed if name in batch})
        else:
            output = self.network(next(iter(batch.values())))
        return getattr(output, "logits", output)

    # --- training ----------------------------------------------------------------------------------------------------

    @property
    def loss_name(self) -> str | None:
        """The metric that is the same number as the loss, by which reports call it; None if there is none."""
        return None

    @property
    def progress(self) -> float:
        """The fraction of training that is done."""
        return self.global_step / max(1, self.trainer.estimated_stepping_batches)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | dict[str, Tensor]:
        loss = self.loss(batch)
        self.report("train", loss)
        return self.of_all_processes(loss)

    def of_all_processes(self, loss: Loss) -> Tensor:
        """The loss to minimize: in a distributed run, whose gradients are averaged over the processes, weighted by the items of each."""
        if self.trainer.world_size == 1:
            return loss.value
        count = torch.as_tensor(loss.count, dtype=torch.float32, device=self.device)
        return loss.value * (count / cast(Tensor, self.all_gather(count)).mean())

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.report("val", self.loss(batch))
        if self.validation is not None:
            self.validation.update(batch)

    def on_validation_epoch_start(self) -> None:
        if self.validation is not None:
            self.validation.begin()

    def on_validation_epoch_end(self) -> None:
        # read by checkpoints, early stopping and plateau schedules; loggers receive all metrics of an epoch together
        self.log_dict(self.epoch_metrics("val"), logger=False)

    def own_steps(self) -> Sequence[Step]:
        """Adaptation steps that the method itself requires, such as no weight decay for some parameters."""
        return ()

    def configure_model(self) -> None:
        if self.device_mesh is not None:  # of trainer.strategy=fsdp
            shard(self, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        return self.optimizer_for(None)

    def optimizer_for(self, part: nn.Module | None, lr: float | None = None) -> dict[str, Any]:
        """Optimizer and schedule as Lightning takes them.

        Args:
            part: the module that the optimizer trains, for a task with several optimizers; None: the whole task.
            lr: learning rate in place of the configuration's.
        """
        usual = (self.optimization.optim or {}).get("lr")
        groups = self.adaptation.parameter_groups(self, usual if lr is None else lr, part=part, steps=self.own_steps())
        optimizer = self.optimization.optimizer(groups, lr=lr)
        scheduler = self.optimization.scheduler(
            optimizer,
            total_steps=self.trainer.estimated_stepping_batches,
            total_epochs=self.trainer.max_epochs,
            monitor=f"val/{self.monitor}",
            mode=self.direction(self.monitor),
        )
        return {"optimizer": optimizer, **({"lr_scheduler": scheduler} if scheduler else {})}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimization.add_penalty_gradients(self)

    # --- metrics of an epoch -----------------------------------------------------------------------------------------

    def direction(self, metric: str) -> str:
        """ "max" or "min". Raises KeyError for a metric that neither the task nor its evaluators declare."""
        known = dict(self.metrics)
        if self.validation is not None:
            known |= self.validation.metrics
        return known[metric].value

    def report(self, stage: str, loss: Loss) -> None:
        """Adds a batch's loss to the stage's means."""
        sums = {"loss": loss.value.detach().float() * loss.count} if loss.sums is None else loss.sums
        self.tally(stage, loss.count, **sums)

    def tally(self, stage: str, count: int | Tensor, **sums: Tensor) -> None:
        """Adds sums over `count` items to the stage's means; stays on the device, so that no step waits for the GPU."""
        stage_sums = self._sums.setdefault(stage, {})
        stage_sums["count"] = stage_sums.get("count", 0) + count
        for name, value in sums.items():
            stage_sums[name] = stage_sums[name] + value if name in stage_sums else value

    def means(self, stage: str) -> dict[str, float]:
        """The means tallied since the last call; NaN if there were batches without items. Needs one transfer from the device."""
        sums = self._sums.pop(stage, {})
        if not sums:
            return {}
        values = torch.stack(
            [torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in sums.values()]
        )
        if self.trainer.world_size > 1:
            values = cast(Tensor, self.all_gather(values)).sum(0)
        totals = dict(zip(sums, values.tolist(), strict=True))
        count = totals.pop("count")
        return {name: total / count if count else float("nan") for name, total in totals.items()}

    def epoch_metrics(self, stage: str) -> dict[str, float]:
        """The stage's metrics since the last call, named "train/loss" and so on."""
        metrics = self.summarize(self.means(stage))
        if stage == "val" and self.validation is not None:
            metrics = {**metrics, **self.validation.compute()}
        return {f"{stage}/{name}": value for name, value in metrics.items()}


def fixed_copy(network: nn.Module) -> nn.Module:
    """A copy that is not trained."""
    return copy.deepcopy(network).requires_grad_(False)


def same_tensors(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have tensors of the same names, so that one can take the values of the other; LoRA adds some."""
    return one.state_dict().keys() == other.state_dict().keys()


def input_names(network: nn.Module, batch: Batch, preprocessor: Preprocessor | None) -> tuple[str, ...]:
    """Names of `forward`'s arguments that are inputs of a batch, in order; empty if the network takes the first input alone."""
    inputs = set(preprocessor.input_keys) if preprocessor is not None else set(batch)
    return tuple(name for name in inspect.signature(network.forward).parameters if name in inputs)
