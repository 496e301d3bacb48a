"""CIFAR-10 and CIFAR-100 in the binary version, and in the pickled version that torchvision stores."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.features import Label
from mlrun.data.readers.download import data_directory, fetch
from mlrun.data.row_data import Content
from mlrun.errors import DataError

PIXELS = 3 * 32 * 32
SETS: dict[str, dict[str, Any]] = {
    "cifar10": dict(
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        binary=("cifar-10-batches-bin", [f"data_batch_{at}.bin" for at in range(1, 6)], ["test_batch.bin"], 1),
        pickled=("cifar-10-batches-py", [f"data_batch_{at}" for at in range(1, 6)], ["test_batch"], b"labels"),
        classes=["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
        names_file="batches.meta.txt",
    ),
    "cifar100": dict(
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        binary=("cifar-100-binary", ["train.bin"], ["test.bin"], 2),
        pickled=("cifar-100-python", ["train"], ["test"], b"fine_labels"),
        classes=None,
        names_file="fine_label_names.txt",
    ),
}
ADDRESS = "https://www.cs.toronto.edu/~kriz/"


class Cifar(ImageData):
    """CIFAR-10 or CIFAR-100: 50,000 photographs of 3x32x32 bytes for train and val, 10,000 for test.

    Reads the folder of the binary or pickled version, or its archive, from `data_dir` or `data_dir`/<collection>; downloads it if
    neither exists.

    Args:
        collection: cifar10, or cifar100 with its 100 fine classes.
        problem, name, seed, options: see `ImageData`.
        data_dir: folder of public data sets, see `data_directory`.

    Raises:
        DataError: files are missing or damaged.
    """

    def __init__(self, collection: str, problem: str, name: str, seed: int, data_dir: str | None, **options: Any):
        super().__init__(problem, name, seed, **options)
        if collection not in SETS:
            raise DataError(f"dataset.collection={collection}: choose one of {', '.join(SETS)}")
        self.collection, self.data_dir = collection, data_dir

    def read(self) -> Content:
        known, (folder, pickled) = SETS[self.collection], self._find()
        if pickled:
            _, train, test, key = known["pickled"]
            parts = [[read_pickled(folder / file, key) for file in files] for files in (train, test)]
        else:
            _, train, test, bytes_of_label = known["binary"]
            parts = [[read_binary(folder / file, bytes_of_label) for file in files] for files in (train, test)]
        x = np.concatenate([images for part in parts for images, _ in part])
        y = np.concatenate([labels for part in parts for _, labels in part])
        classes = known["classes"] or _names(folder / known["names_file"], 100)
        if y.max() >= len(classes):
            raise DataError(f"{folder}: label {y.max()}, but {self.collection} has the classes 0 to {len(classes) - 1}")
        pixels = [
            f"{colour}_{row}_{column}"
            for colour in ("red", "green", "blue")
            for row in range(32)
            for column in range(32)
        ]
        first_test = sum(len(labels) for _, labels in parts[0])
        label = Label(list(range(len(classes))), list(classes))
        return labelled_images(x, y, label, str(folder), pixels, test_rows=first_test)

    def _find(self) -> tuple[Path, bool]:
        """(folder, whether its files are pickled)."""
        known, root = SETS[self.collection], data_directory(self.data_dir)
        for pickled, form in ((False, "binary"), (True, "pickled")):
            inner, train, test, _ = known[form]
            for folder in (root / self.collection / inner, root / inner, root / self.collection):
                if all((folder / file).is_file() for file in (*train, *test)):
                    return folder, pickled
        home = root / self.collection
        if not (home / known["archive"]).is_file() and not (root / known["archive"]).is_file():
            fetch({known["archive"]: known["md5"]}, (ADDRESS,), home, self.collection)
        archive = home / known["archive"] if (home / known["archive"]).is_file() else root / known["archive"]
        home.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(archive) as content:
                content.extractall(home, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(f"{archive}: damaged ({error}); delete it and fetch it again") from None
        return home / known["binary"][0], False


def read_binary(path: Path, bytes_of_label: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, 3, 32, 32) uint8 and labels (rows,) int64; the fine label where a row has a coarse and a fine one."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    row = bytes_of_label + PIXELS
    if not len(content) or len(content) % row:
        raise DataError(f"{path}: {len(content):,} bytes are not whole images of {row:,}; delete it and fetch it again")
    content = content.reshape(-1, row)
    return content[:, bytes_of_label:].reshape(-1, 3, 32, 32), content[:, bytes_of_label - 1].astype(np.int64)


class _Plain(pickle.Unpickler):
    """Unpickles only the types in CIFAR files: a malicious pickle could run arbitrary code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module, name)
        if (module, name) in (("_codecs", "encode"), ("copyreg", "_reconstructor")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a CIFAR file")


def read_pickled(path: Path, key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Reads a file of the Python version, with the result of `read_binary`; unpickles only arrays."""
    try:
        with open(path, "rb") as file:
            content = _Plain(file, encoding="bytes").load()
        x = np.asarray(content[b"data"], dtype=np.uint8)
        return x.reshape(-1, 3, 32, 32), np.asarray(content[key], dtype=np.int64)
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{path}: not a CIFAR file of the Python version ({error})") from None


def _names(path: Path, count: int) -> list[str]:
    try:
        names = path.read_text().split()
    except OSError:
        names = []
    return names if len(names) == count else [str(at) for at in range(count)]
