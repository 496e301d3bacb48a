"""Two domains without pairs: which images are where, in which order they come, and what changes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mlrun.data.datasets.images import Digits
from mlrun.data.datasets.unpaired import Changed, Folders, coloured, inverted, thickened
from mlrun.data.datasets.unpaired_batches import UnpairedBatches
from mlrun.data.preprocess.preprocessor import load, make_preprocessor
from mlrun.errors import DataError


def digits(change="inverted", **options):
    data = Changed(Digits("classification", "digits", 1), "translation", "unpaired_digits", 1, change=change, **options)
    data.prepare()
    return data


def test_no_digit_is_in_both_domains():
    data = digits()
    plain, changed = zip(*(data.domains(part) for part in ("train", "val", "test")))
    rows = [image.tobytes() for domain in plain for image in domain.x]
    undone = [np.round((1 - image) * 16).astype(np.float32).tobytes() for domain in changed for image in domain.x]
    assert len(rows) + len(undone) == 1797
    both = {np.round(np.frombuffer(row, np.float32) * 16).astype(np.float32).tobytes() for row in rows} & set(undone)
    assert len(both) <= 2  # a few of the set's digits are the same image
    assert all(np.bincount(domain.y, minlength=10).min() > 5 for domain in (*plain, *changed))


def test_batches_are_of_both_domains_and_without_pairs():
    data = digits(batch_size=32)
    loader = data.loader("train", make_preprocessor(None, data), shuffle=True)
    seen = []
    for _ in range(2):
        batches = list(loader)
        names = ["pixel_values_a", "pixel_values_b", "labels_a", "labels_b"]
        assert all(list(batch) == names for batch in batches)
        a, b, labels_a, labels_b = (torch.cat([batch[name] for batch in batches]) for name in names)
        assert a.shape == b.shape == (540, 1, 8, 8) and labels_a.shape == labels_b.shape == (540,)
        assert float(min(a.min(), b.min())) == -1 and float(max(a.max(), b.max())) == 1
        assert float(a.mean()) < -0.2 < 0.2 < float(b.mean())  # dark ground, light ground
        seen.append({(one.numpy().tobytes(), other.numpy().tobytes()) for one, other in zip(a, b)})
    assert len(seen[0] & seen[1]) < 10


def test_a_stored_preprocessor_encodes_and_decodes_the_same():
    data = digits()
    preprocessor = make_preprocessor(None, data)
    examples = data.examples("test")
    assert list(examples.columns) == ["image_a"] == list(data.inputs) and data.target is None
    encoded = preprocessor.encode(examples)["pixel_values_a"]
    np.testing.assert_array_equal(encoded, 2 * data.domains("test")[0].x - 1)
    np.testing.assert_array_equal(load(preprocessor.state).encode(examples)["pixel_values_a"], encoded)
    pixels = np.ones((2, 1, 8, 8), dtype=np.float32)
    assert np.array_equal(load(preprocessor.state).decode({"pixels": pixels}).answers(), pixels)
    with pytest.raises(DataError, match="image_a"):
        preprocessor.encode(examples.only([]))


def test_the_smaller_domain_begins_again_and_a_stopped_epoch_resumes():
    def batches():
        domains = [np.arange(20.0).reshape(10, 1, 1, 2), np.arange(8.0).reshape(4, 1, 1, 2)]
        return UnpairedBatches(domains, [np.full(10, -1), np.zeros(4)], lambda x: x, 3, shuffle=True, seed=5, flip=True)

    def values(batch):
        """(rows, 4): the two pixels of an image of A and of one of B."""
        return torch.cat([batch["pixel_values_a"].flatten(1), batch["pixel_values_b"].flatten(1)], dim=1)

    whole = batches()
    epochs = [[values(batch) for batch in whole] for _ in range(3)]
    first = torch.cat(epochs[0])
    a, b = (first[:, at : at + 2].amin(1) / 2 for at in (0, 2))
    turned = first[:, ::2] > first[:, 1::2]
    assert turned.any(0).all() and not turned.all(0).any()  # images of both domains are mirrored, each or not by chance
    assert sorted(a.tolist()) == list(range(10)) and sorted(b[:4].tolist()) == sorted(b[4:8].tolist()) == [0, 1, 2, 3]
    stopped = batches()
    list(stopped)
    for step, _ in enumerate(stopped):
        if step == 1:
            break
    resumed = batches()
    resumed.load_state_dict(stopped.state_dict())
    rest = [[values(batch) for batch in resumed] for _ in range(2)]
    assert all(torch.equal(one, two) for one, two in zip(epochs[1][2:] + epochs[2], rest[0] + rest[1]))


def test_changes():
    x = np.zeros((2, 1, 8, 8), dtype=np.float32)
    x[:, :, 3, 3] = 0.5
    assert np.array_equal(inverted(inverted(x)), x)
    assert np.count_nonzero(thickened(x)[0]) == 4 and thickened(x).max() == 0.5
    large = np.zeros((1, 1, 28, 28))
    large[0, 0, [0, 10], [0, 10]] = 1
    assert thickened(large)[0, 0, 9:12, 9:12].all() and thickened(large).sum() == 9 + 4
    ink = coloured(x, np.random.default_rng(0))
    assert ink.shape == (2, 3, 8, 8) and np.count_nonzero(ink[:, :, 0, 0]) == 0
    colours = ink[:, :, 3, 3]
    np.testing.assert_allclose(colours.max(1), 0.5)
    np.testing.assert_allclose(colours.min(1), 0.0, atol=1e-12)
    assert np.abs(colours[0] - colours[1]).max() > 0.05


def test_counterparts():
    data = digits("thickened")
    a = data.domains("test")[0].x
    assert np.array_equal(data.counterpart(a, "B"), thickened(a)) and data.counterpart(a, "A") is None
    assert digits("coloured").domains("val")[0].x.shape[1] == 3
    assert digits("coloured").counterpart(a, "B") is None


def folder_of(directory, count, value):
    directory.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((12, 20, 3), value + number, dtype=np.uint8)).save(directory / f"{number:02}.png")


def test_folders(tmp_path):
    for name, count, value in [("trainA", 10, 0), ("trainB", 6, 100), ("testA", 3, 50), ("testB", 2, 150)]:
        folder_of(tmp_path / "laid_out" / name, count, value)
    data = Folders(
        tmp_path / "laid_out",
        "translation",
        "folders",
        1,
        split={"train": None, "val": 0.2, "test": 0.5},
        side=8,
        batch_size=4,
    )
    assert {part: [len(domain.x) for domain in data.domains(part)] for part in data.sizes} == {
        "train": [8, 5],
        "val": [2, 1],
        "test": [3, 2],
    }
    assert data.domains("test")[1].x.shape == (2, 3, 8, 8) and set(data.domains("test")[1].x[:, 0, 0, 0]) == {150, 151}
    batch = next(iter(data.loader("train", make_preprocessor(None, data))))
    assert batch["pixel_values_a"].shape == batch["pixel_values_b"].shape == (4, 3, 8, 8)
    assert (batch["labels_a"] == -1).all() and (batch["labels_b"] == -1).all()

    for name in "AB":
        folder_of(tmp_path / "plain" / name, 10, 10)
    data = Folders(
        tmp_path / "plain", "translation", "folders", 1, split={"train": None, "val": 0, "test": 0.2}, side=8
    )
    assert [len(domain.x) for domain in data.domains("test")] == [2, 2] and data.sizes["train"] == 8
    with pytest.raises(DataError, match="trainA and trainB"):
        Folders(tmp_path / "nowhere", "translation", "folders", 1).prepare()
