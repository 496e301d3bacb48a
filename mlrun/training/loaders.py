"""The batches of a `DataModule` in the form in which Lightning requests them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch import LightningDataModule

from mlrun.errors import ConfigError
from mlrun.tasks.task import Task

if TYPE_CHECKING:
    import torch

    from mlrun.data.module import DataModule


class Loaders(LightningDataModule):
    """Passes the batches of a `DataModule`, which come on the device where they are used, to Lightning."""

    def __init__(self, data: DataModule):
        super().__init__()
        self.data = data

    def _place(self) -> dict[str, Any]:
        trainer = self.trainer
        return {"device": trainer.strategy.root_device, "shard": (trainer.global_rank, trainer.world_size)}

    def _require_rows(self, part: str) -> None:
        """A process without a row takes no part in the sums over all processes, and the others wait for it for ever."""
        rows, ranks = self.data.sizes.get(part) or 0, self.trainer.world_size
        if 0 < rows < ranks:
            raise ConfigError(
                f"dataset: {rows} rows for {part} are too few for {ranks} processes (trainer.devices): "
                f"use fewer processes or a larger dataset.split.{part}"
            )

    @property
    def _task(self) -> Task:
        return cast(Task, self.trainer.lightning_module)

    def train_dataloader(self) -> Iterable[Any]:
        self._require_rows("train")
        return self._task.train_loader(self.data, **self._place())

    def val_dataloader(self) -> Iterable[Any]:
        self._require_rows("val")
        return self._task.loader(self.data, "val", **self._place()) or []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # it is on the device already
