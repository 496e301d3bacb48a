"""IDX files and the MNIST family."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from mlrun.data.datasets.images import COLLECTIONS, FILES, IdxImages
from mlrun.data.readers.idx import read_idx, write_idx
from mlrun.errors import DataError
from tests.data.through import loader, spec


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_round_trip(tmp_path, name):
    values = np.random.default_rng(0).integers(0, 256, (5, 3, 2), dtype=np.uint8)
    write_idx(tmp_path / name, values)
    np.testing.assert_array_equal(read_idx(tmp_path / name, 3), values)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not an IDX file"),
        (b"\x89PNG\r\n", "not an IDX file"),
        (b"\0\0\x0d\x03" + b"\0" * 40, "type 0x0d"),
        (b"\0\0\x08\x01\0\0\0\x02ab", "magic number 2049, expected 2051"),
        (b"\0\0\x08\x03\0\0", "truncated"),
        (b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + b"abc", "3 bytes of values.*2 x 2 x 2 = 8"),
        (b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + b"abcdefghi", "9 bytes of values"),
        (gzip.compress(b"\0\0\x08\x01\0\0\x0b\xb8" + bytes(3000), mtime=0)[:-9], "magic number 2049"),
        (
            gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x0a" * 3 + np.random.default_rng(0).bytes(1000), mtime=0)[:500],
            "truncated gzip",
        ),
        (gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x0a" * 3 + bytes(1000), mtime=0)[:-8] + bytes(8), "damaged"),
        (b"\x1f\x8bnonsense, not deflated", "gzip"),
    ],
)
def test_faults_name_the_file(tmp_path, content, message):
    (tmp_path / "faulty").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(tmp_path / "faulty", 3)
    assert str(tmp_path / "faulty") in str(error.value) and "\n" not in str(error.value)


def collection(tmp_path, folder="MNIST/raw", suffix="", train=40, test=20):
    place = tmp_path / folder
    place.mkdir(parents=True)
    make = np.random.default_rng(0)
    for start, count in ((0, train), (2, test)):
        write_idx(place / (FILES[start] + suffix), make.integers(0, 256, (count, 4, 4), dtype=np.uint8))
        write_idx(place / (FILES[start + 1] + suffix), np.arange(count) % 10)
    return place


def mnist(data_dir, **options):
    return IdxImages(
        "mnist", "classification", "mnist", 1, str(data_dir), **{"split": {"train": 0.5, "val": 0.5}, **options}
    )


@pytest.mark.parametrize("folder, suffix", [("MNIST/raw", ""), ("mnist", ".gz"), ("mnist/MNIST/raw", ".gz")])
def test_usual_places_and_the_own_test_files(tmp_path, folder, suffix):
    place = collection(tmp_path, folder, suffix)
    data = mnist(tmp_path)
    assert data.sizes == {"train": 20, "val": 20, "test": 20} and data.source == str(place)
    known = {"input_shape": [1, 4, 4], "image_shape": [1, 4, 4], "num_outputs": 10, "num_classes": 10}
    assert known.items() <= spec(data).items()
    assert data.rows("test").tolist() == list(range(40, 60)) and data.examples("test")["image"].dtype == np.uint8
    assert np.bincount(data.examples("val")["label"]).tolist() == [2] * 10


def test_counts_and_parts_that_are_left_out(tmp_path):
    collection(tmp_path)
    assert mnist(tmp_path, split={"train": 30, "val": 10}).sizes == {"train": 30, "val": 10, "test": 20}
    assert mnist(tmp_path, split={"train": 1.0, "val": 0, "test": None}).sizes == {"train": 40, "val": 0, "test": 20}
    assert mnist(tmp_path, split={"train": None, "val": 10, "test": 10}).sizes == {"train": 30, "val": 10, "test": 10}


def test_digest_does_not_depend_on_compression(tmp_path):
    collection(tmp_path / "a"), collection(tmp_path / "b", "mnist", ".gz")
    assert mnist(tmp_path / "a").digest == mnist(tmp_path / "b").digest


def test_files_that_do_not_fit_together(tmp_path):
    place = collection(tmp_path)
    write_idx(place / FILES[1], np.zeros(39))
    with pytest.raises(DataError, match="39 labels for the 40 images"):
        mnist(tmp_path).prepare()
    write_idx(place / FILES[1], np.full(40, 12))
    with pytest.raises(DataError, match="label 12"):
        mnist(tmp_path).prepare()


def test_offline_says_which_files_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setitem(COLLECTIONS["mnist"], "addresses", ("http://127.0.0.1:9/", "http://127.0.0.1:9/"))
    with pytest.raises(DataError) as error:
        mnist(tmp_path).prepare()
    message = str(error.value)
    assert "train-images-idx3-ubyte.gz" in message and str(tmp_path / "mnist") in message and "\n" not in message


def test_a_download_is_checked_and_kept(tmp_path, monkeypatch):
    import hashlib
    import http.server
    import threading
    from functools import partial

    place = collection(tmp_path / "server", "mnist", ".gz")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(place)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setitem(COLLECTIONS["mnist"], "addresses", (f"http://127.0.0.1:{server.server_port}/",))
        with pytest.raises(DataError, match="checksum is wrong"):
            mnist(tmp_path / "mine").prepare()
        monkeypatch.setitem(
            COLLECTIONS["mnist"],
            "md5",
            [hashlib.md5((place / f"{file}.gz").read_bytes()).hexdigest() for file in FILES],
        )
        assert mnist(tmp_path / "mine").sizes["test"] == 20
    finally:
        server.shutdown()
    assert mnist(tmp_path / "mine").sizes["train"] == 20  # the server is gone, the files are there


def test_fashion_mnist_as_published():
    root = Path(os.environ.get("MLRUN_DATA_DIR") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
    if not (root / "fashion_mnist").is_dir():
        pytest.skip(f"no Fashion-MNIST in {root}: set MLRUN_DATA_DIR to the folder that holds fashion_mnist/")
    data = IdxImages(
        "fashion_mnist",
        "classification",
        "fashion_mnist",
        1,
        str(root),
        split={"train": 59000, "val": 1000},
        normalize="unit",
    )
    assert data.sizes == {"train": 59000, "val": 1000, "test": 10000}
    assert (
        np.bincount(data.examples("val")["label"]).tolist() == [100] * 10
        and np.bincount(data.examples("test")["label"]).tolist() == [1000] * 10
    )
    x = next(iter(loader(data, "test")))["pixel_values"]
    assert tuple(x.shape) == (64, 1, 28, 28) and 0 <= x.min() and x.max() == 1
    np.testing.assert_allclose(
        x.reshape(64, -1), data.examples("test")["image"][:64].reshape(64, -1) / np.float32(255), rtol=1e-6
    )
