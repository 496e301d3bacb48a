"""Batches: every row once, the order by the seed, state, and the two ways of reading give the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.data.batches import ResidentBatches, WorkerBatches, columns_of
from mlrun.data.features import Image, Label
from mlrun.data.preprocess.preprocessor import make_preprocessor
from mlrun.data.row_data import ArrayData, Content
from mlrun.errors import ConfigError


class Bytes(ArrayData):
    """100 byte images whose first pixel is the row number; 5 classes."""

    def read(self):
        x = np.random.default_rng(0).integers(0, 256, (100, 3, 4, 4), dtype=np.uint8)
        x[:, 0, 0, 0] = np.arange(100)
        features = {"image": Image([3, 4, 4]), "label": Label(list(range(5)))}
        return Content({"image": x, "label": np.arange(100) % 5}, features, "made")


def data(**options):
    return Bytes("classification", "bytes", 1, batch_size=8, **options)


def loader_of(part, module=None, **options):
    module = module or data(**options.pop("data", {}))
    return module.loader(part, make_preprocessor(None, module), **options)


def seen(loader):
    return [batch["labels"].tolist() for batch in loader]


def rows(size=23, **options):
    columns = columns_of({"values": np.arange(size), "labels": np.arange(size)})
    return ResidentBatches(columns, size, options.pop("batch_size", 4), **options)


def test_every_row_once_in_a_new_order_each_epoch():
    loader = rows(shuffle=True, seed=3)
    first, second = seen(loader), seen(loader)
    assert len(first) == len(loader) == 6
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(23))
    assert first != second and first == seen(rows(shuffle=True, seed=3)) != seen(rows(shuffle=True, seed=4))
    assert sum(seen(rows()), []) == list(range(23))


def test_a_single_last_row_joins_the_batch_before_it():
    assert [len(batch) for batch in seen(rows(21, shuffle=True))] == [4, 4, 4, 4, 5]
    assert [len(batch) for batch in seen(rows(21))] == [4, 4, 4, 4, 4, 1]
    assert [len(batch) for batch in seen(rows(3, batch_size=1, shuffle=True))] == [1, 1, 1]


@pytest.mark.parametrize("epochs, batches", [(0, 0), (0, 2), (1, 0), (2, 5), (1, 6)])
def test_restored_state_goes_on_where_it_was(epochs, batches):
    loader = rows(shuffle=True, seed=5)
    for _ in range(epochs):
        seen(loader)
    reader = iter(loader)
    for _ in range(batches):
        next(reader)
    state = loader.state_dict()
    torch.save(state, buffer := __import__("io").BytesIO())
    rest = seen(reader) if batches else []
    expected = (rest if batches and rest else []) + seen(loader) + seen(loader)
    restored = rows(shuffle=True, seed=99)
    buffer.seek(0)
    restored.load_state_dict(torch.load(buffer, weights_only=True))
    found = seen(restored) + seen(restored) + (seen(restored) if rest else [])
    assert found[: len(expected)] == expected


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [23, 24, 12, 13, 25, 60])
@pytest.mark.parametrize("lengths", [False, True])
def test_processes_divide_each_batch(size, shuffle, lengths):
    options = {"batch_size": 12, "shuffle": shuffle, "seed": 2, "lengths": torch.arange(size) % 7 if lengths else None}
    whole = seen(rows(size, **options))
    shares = [seen(rows(size, shard=(rank, 3), **options)) for rank in range(3)]
    joined = [sum(parts, []) for parts in zip(*shares, strict=True)]  # equally many batches each
    assert sum(joined, []) == sum(whole, [])
    if size not in (13, 25):  # a last batch too small to divide joins the one before
        assert joined == whole
    assert all(max(map(len, parts)) - min(map(len, parts)) <= 1 and min(map(len, parts)) for parts in zip(*shares))


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ConfigError, match=r"a batch of 4 cannot be divided evenly among 3 processes"):
        rows(shuffle=True, shard=(0, 3))
    assert [len(batch) for batch in seen(rows(8, shard=(0, 3)))] == [1, 1]  # evaluation only adds up


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("normalize", ["standardize", "unit", "none"])
def test_worker_batches_equal_resident_batches(workers, normalize, monkeypatch):
    limit, options = "mlrun.data.preprocess.images.FLOAT_LIMIT", {"normalize": normalize}
    for part, shuffle in (("train", True), ("test", False)):
        monkeypatch.setattr(limit, 2**20)
        a = loader_of(part, data=options, shuffle=shuffle)
        monkeypatch.setattr(limit, 0)  # bytes, normalized per batch
        b = loader_of(part, data=options, shuffle=shuffle)
        c = loader_of(part, data={**options, "resident_limit": 10, "num_workers": workers}, shuffle=shuffle)
        assert a.columns[0].values.dtype == torch.float32 and b.columns[0].values.dtype == torch.uint8
        assert isinstance(c, WorkerBatches)
        for _ in range(2):
            for one, other, third in zip(a, b, c, strict=True):
                assert torch.equal(one["labels"], other["labels"]) and torch.equal(one["labels"], third["labels"])
                x = one["pixel_values"]
                assert torch.equal(x, other["pixel_values"]) and torch.equal(x, third["pixel_values"])
                assert x.dtype == torch.float32
                assert torch.equal(one.rows, other.rows) and torch.equal(one.rows, third.rows)


def test_worker_state_does_not_count_batches_read_ahead():
    loader = loader_of("train", data={"resident_limit": 10, "num_workers": 1}, shuffle=True)
    reader = iter(loader)
    next(reader), next(reader)
    state = loader.state_dict()
    rest = seen(reader)
    other = loader_of("train", data={"resident_limit": 10}, shuffle=True)
    other.load_state_dict(state)
    assert seen(other) == rest


def test_batches_belong_to_their_rows():
    module = data(normalize="none")
    loader = loader_of("train", module, shuffle=True)
    numbers = [batch["pixel_values"][:, 0, 0, 0].long() for batch in loader]
    assert sorted(torch.cat(numbers).tolist()) == sorted(module.rows("train"))
    for batch in loader:
        first = batch["pixel_values"][:, 0, 0, 0].long()
        assert torch.equal(first % 5, batch["labels"])
        assert first.tolist() == module.rows("train")[batch.rows].tolist()


def test_an_empty_part_has_no_loader():
    module = data(split={"train": 80, "val": 0, "test": 20})
    assert (
        loader_of("val", module) is None
        and len(module.examples("val")) == 0
        and module.sizes == {"train": 80, "val": 0, "test": 20}
    )


def test_the_loader_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for options in ({}, {"resident_limit": 10}):
        seen(loader_of("train", data=options, shuffle=True))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("step", [5, 10, 13])
def test_lightning_continues_an_epoch_where_the_checkpoint_was_written(step, tmp_path):
    """80 training rows are 10 batches: Lightning saves and restores a loader with `state_dict`."""
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Recorder(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

        def training_step(self, batch, index):
            self.seen.append(batch["labels"].tolist())
            return self.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(checkpoint=None):
        model = Recorder()
        save = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step, save_top_k=-1)
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            callbacks=[save],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader = loader_of("train", data={"split": {"train": 80, "val": 10, "test": 10}}, shuffle=True)
        trainer.fit(model, loader, ckpt_path=checkpoint)
        return model.seen

    whole = fit()
    assert len(whole) == 20 and fit(tmp_path / f"step={step}.ckpt") == whole[step:]
