"""Training of sharded networks, `trainer.strategy=fsdp`."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy

from mlrun.networks.sharding import gather, release

SHARDED = "fsdp"  # the name of this strategy in the configuration


class Sharded(ModelParallelStrategy):
    """Divides parameters, gradients and optimizer states among all processes, see `mlrun.networks.sharding`.

    A checkpoint is one file with whole tensors, in the format of a training that is not sharded.
    Lightning's FSDPStrategy, for torch's first FSDP, needs a GPU also in tests.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


class WholeInValidation(Callback):
    """Every process has the whole network during validation: generating texts takes more steps in one process than in another, and they would wait
    for each other for ever."""

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        gather(task)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        release(task)
