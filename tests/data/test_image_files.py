"""CIFAR's files in both forms, and folders of images."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from mlrun.data.datasets.cifar import Cifar
from mlrun.data.datasets.image_folder import ImageFolder
from mlrun.data.preprocess.preprocessor import make_preprocessor
from mlrun.errors import DataError
from tests.data.through import spec


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8), np.arange(60) % 10


def write_binary(folder, x, y, coarse=False):
    folder.mkdir(parents=True)
    labels = np.stack([y * 0 + 7, y], 1) if coarse else y[:, None]
    table = np.concatenate([labels, x.reshape(len(x), -1)], 1).astype(np.uint8)
    files = ["train.bin", "test.bin"] if coarse else [*(f"data_batch_{at}.bin" for at in range(1, 6)), "test_batch.bin"]
    for at, file in enumerate(files):
        part = table[10 * at : 10 * at + 10] if not coarse else table[50 * at : 50 * at + (50 if at == 0 else 10)]
        part.tofile(folder / file)


def cifar(root, collection="cifar10", **options):
    return Cifar(collection, "classification", collection, 1, str(root), split={"train": 0.8, "val": 0.2}, **options)


def test_cifar10_binary(tmp_path, rows):
    x, y = rows
    write_binary(tmp_path / "cifar-10-batches-bin", x, y)
    data = cifar(tmp_path)
    np.testing.assert_array_equal(data.content.columns["image"], x)
    np.testing.assert_array_equal(data.content.columns["label"], y)
    assert data.sizes == {"train": 40, "val": 10, "test": 10} and spec(data)["image_shape"] == [3, 32, 32]
    assert data.target.names[3] == "cat"


def test_cifar10_pickled_and_in_an_archive(tmp_path, rows):
    x, y = rows
    folder = tmp_path / "a" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for at, file in enumerate([*(f"data_batch_{at}" for at in range(1, 6)), "test_batch"]):
        part = slice(10 * at, 10 * at + 10)
        with open(folder / file, "wb") as out:
            pickle.dump({b"data": x[part].reshape(10, -1), b"labels": y[part].tolist()}, out, protocol=2)
    np.testing.assert_array_equal(cifar(tmp_path / "a").content.columns["image"], x)
    write_binary(tmp_path / "made" / "cifar-10-batches-bin", x, y)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    (tmp_path / "b").mkdir()
    (tmp_path / "cifar-10-binary.tar.gz").rename(tmp_path / "b" / "cifar-10-binary.tar.gz")
    np.testing.assert_array_equal(cifar(tmp_path / "b").content.columns["label"], y)


def test_a_pickle_that_runs_something_is_refused(tmp_path, rows):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    class Evil:
        def __reduce__(self):
            return print, ("owned",)

    for file in [*(f"data_batch_{at}" for at in range(1, 6)), "test_batch"]:
        (folder / file).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="not allowed in a CIFAR file"):
        cifar(tmp_path).prepare()


def test_cifar100_takes_the_fine_label(tmp_path, rows):
    x, y = rows
    write_binary(tmp_path / "cifar100" / "cifar-100-binary", x, y, coarse=True)
    (tmp_path / "cifar100" / "cifar-100-binary" / "fine_label_names.txt").write_text(
        "\n".join(f"thing{at}" for at in range(100))
    )
    data = cifar(tmp_path, "cifar100", classes=[0, 1, 2])
    assert data.target.names == ["thing0", "thing1", "thing2"] and data.sizes["test"] == 3
    np.testing.assert_array_equal(data.content.columns["image"], x[y < 3])


def test_damaged_cifar_is_refused(tmp_path, rows):
    write_binary(tmp_path / "cifar-10-batches-bin", *rows)
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="test_batch.bin.*not whole images"):
        cifar(tmp_path).prepare()


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 6), ("test", 2)):
        for place, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for at in range(count):
                Image.new("RGB", (40, 30), (200 * place, at, 50)).save(tmp_path / part / name / f"{at}.png")
    return tmp_path


def images(path, **options):
    return ImageFolder(
        str(path), "classification", "image_folder", 1, split={"train": 0.5, "val": 0.5}, side=16, **options
    )


def test_a_folder_for_each_class(folder):
    data = images(folder)
    assert data.target.classes == ["cat", "dog"] and data.sizes == {"train": 6, "val": 6, "test": 4}
    assert data.content.columns["image"].shape == (16, 3, 16, 16) and data.content.columns["image"].dtype == np.uint8
    assert (data.content.columns["image"][:, 0] == 200 * data.content.columns["label"][:, None, None]).all()
    assert spec(images(folder, grey=True))["image_shape"] == [1, 16, 16]
    alone = ImageFolder(
        str(folder / "train"),
        "classification",
        "image_folder",
        1,
        side=8,
        split={"train": 0.5, "val": 0.25, "test": 0.25},
    )
    assert alone.sizes == {"train": 6, "val": 3, "test": 3}


def test_every_folder_of_images_has_a_part_and_hidden_ones_have_none(folder, capsys):
    for name in (".ipynb_checkpoints", "no_images"):
        (folder / "train" / name).mkdir()
    for name in (".ipynb_checkpoints/0.png", "cat/._1.png"):
        Image.new("RGB", (4, 4)).save(folder / "train" / name)
    Image.new("RGB", (4, 4), (200, 0, 0)).save(folder / "train" / "dog" / "9.ppm")
    (folder / "test" / "bird").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "test" / "bird" / "0.png")
    data = images(folder)
    assert data.target.classes == ["bird", "cat", "dog"] and sum(data.sizes.values()) == 18
    assert [text for name, text in data.summary if name == "note"] == [
        "no images in the folders no_images",
        "no images to learn from of bird",
    ]
    assert sum(images(folder / "train", classes=["cat", "dog"]).sizes.values()) == 13
    (folder / "valid" / "cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "valid" / "cat" / "0.png")
    with pytest.raises(DataError, match="the images in valid would be in none of the parts"):
        images(folder).prepare()


def test_classes_that_are_numbers(tmp_path):
    for at in range(30):
        (tmp_path / str(at % 3)).mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / str(at % 3) / f"{at}.png")
    assert images(tmp_path, classes=[2, "0"]).target.classes == ["0", "2"]


def test_images_beyond_the_limit_are_read_from_the_disk(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for at in range(100):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / name / f"{at}.png")
    (tmp_path / "cat" / "050.png").write_bytes(b"no image")

    def fed(limit, workers):
        data = ImageFolder(
            tmp_path, "classification", "image_folder", 1, side=128, skip_corrupt=True, resident_limit=limit, num_workers=workers, batch_size=8,
            split={"train": 0.6, "val": 0.2, "test": 0.2, "stratify": True},
        )  # fmt: skip
        tracemalloc.start()
        data.prepare()
        made = make_preprocessor(None, data)
        digest = hashlib.sha256()
        for batch in data.loader("train", made, shuffle=True):
            digest.update(batch["pixel_values"].numpy().tobytes() + batch["labels"].numpy().tobytes())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        sample = np.asarray(data.sample("test")["image"]).tolist()
        return data, (data.digest, made.state, sample, digest.hexdigest()), peak

    resident, expected, much = fed(2**30, 0)
    streamed, found, little = fed(2**20, 0)
    assert found == expected and fed(2**20, 2)[1] == expected
    assert isinstance(streamed.content.columns["image"], np.memmap) and not isinstance(
        resident.content.columns["image"], np.memmap
    )
    assert little < 3 * 2**23 < much  # slices of a million values, as float64, for the normalization


def test_files_are_decoded_while_a_network_trains(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for at in range(60):
            pixels = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
            pixels.save(tmp_path / name / f"{at}.jpg")

    def data_of(**options):
        split = {"train": 0.6, "val": 0.2, "test": 0.2}
        return ImageFolder(
            tmp_path,
            "classification",
            "image_folder",
            1,
            side=16,
            batch_size=8,
            split=split,
            normalize="unit",
            **options,
        )

    streamed, whole = data_of(resident_limit=0, num_workers=2), data_of()
    batches = [
        [
            (batch["pixel_values"], batch["labels"])
            for batch in data.loader("train", make_preprocessor(None, data), shuffle=True)
        ]
        for data in (streamed, whole)
    ]
    assert all((a == b).all() for pair in zip(*batches) for a, b in zip(*pair)) and len(batches[0]) == 9
    column = streamed.content.columns["image"]
    decoded = np.flatnonzero(column._done)
    assert (
        sorted(streamed.rows("train")) == decoded.tolist()
    )  # by the workers, whose results are shared; test images were not needed
    for name in streamed.rows("train"):
        column.files[name].unlink()  # nothing is read twice
    assert (np.asarray(streamed.examples("train")["image"]) == whole.examples("train")["image"]).all()
    assert (np.asarray(streamed.examples("test")["image"]) == whole.examples("test")["image"]).all()
    assert streamed.digest == whole.digest


def test_damaged_files_are_found_early_or_when_they_are_read(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for at in range(20):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / name / f"{at}.png")
    content = (tmp_path / "cat" / "1.png").read_bytes()

    def data():
        return ImageFolder(
            tmp_path, "classification", "image_folder", 1, side=8, resident_limit=0, num_workers=1, normalize="unit"
        )

    (tmp_path / "cat" / "1.png").write_bytes(content + b"\0" * 200)  # bytes after the end do no harm
    data().prepare()
    (tmp_path / "cat" / "1.png").write_bytes(content[:-300])
    with pytest.raises(DataError, match=r"cat/1.png: not an image"):
        data().prepare()
    (tmp_path / "cat" / "1.png").write_bytes(content[:2000] + b"\0" * 4000 + content[6000:])
    damaged = data()
    with pytest.raises(DataError) as raised:
        for part in ("train", "val", "test"):
            list(damaged.loader(part, make_preprocessor(None, damaged)))
    assert "cat/1.png" in str(raised.value) and "\n" not in str(raised.value)


def test_folders_that_do_not_work_are_refused(folder, tmp_path):
    (folder / "train" / "cat" / "broken.png").write_text("no image")
    with pytest.raises(DataError, match="broken.png: not an image"):
        images(folder).prepare()
    with pytest.raises(DataError, match="no such folder"):
        images(folder / "nothing").prepare()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="at least two classes, found none"):
        images(tmp_path / "empty").prepare()
