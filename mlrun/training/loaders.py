"""A `DataModule`'s batches as Lightning asks for them."""

from __future__ import annotations

from lightning.pytorch import LightningDataModule

from mlrun.errors import ConfigError


class Loaders(LightningDataModule):
    """Hands Lightning the batches of a `DataModule`, which come on the device where they are used."""

    def __init__(self, data):
        super().__init__()
        self.data = data

    def _place(self) -> dict:
        trainer = self.trainer
        return {"device": trainer.strategy.root_device, "shard": (trainer.global_rank, trainer.world_size)}

    def _enough(self, part: str) -> None:
        """A process without a row would not take part in the sums over all processes, and the others would wait for it for ever."""
        rows, ranks = self.data.sizes.get(part) or 0, self.trainer.world_size
        if 0 < rows < ranks:
            way_out = f"take fewer processes or a larger dataset.split.{part}"
            raise ConfigError(
                f"dataset: {rows} rows for {part} are too few for {ranks} processes (trainer.devices): {way_out}"
            )

    def train_dataloader(self):
        self._enough("train")
        return self.trainer.lightning_module.train_loader(self.data, **self._place())

    def val_dataloader(self):
        self._enough("val")
        return self.data.loader("val", shuffle=False, **self._place()) or []

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch  # it is there
