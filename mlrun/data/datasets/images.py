"""Sets of small images with a label each: digits, and the MNIST family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.datasets.tables import read_bundled
from mlrun.data.features import Label
from mlrun.data.readers.download import data_directory, fetch
from mlrun.data.readers.idx import read_idx
from mlrun.data.row_data import Content
from mlrun.errors import DataError


class Digits(ImageData):
    """1,797 handwritten digits of 1x8x8 with values 0 to 16, from scikit-learn's files (UCI)."""

    def read(self) -> Content:
        x, y = read_bundled("digits")
        pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
        label = Label(list(range(10)), list("0123456789"))
        return labelled_images(x.reshape(-1, 1, 8, 8), y, label, "scikit-learn", pixels, value_range=16)


COLLECTIONS: dict[str, dict[str, Any]] = {
    "mnist": dict(
        folders=("mnist", "MNIST/raw", "mnist/raw", "mnist/MNIST/raw"),
        addresses=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        md5=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        classes=list("0123456789"),
    ),
    "fashion_mnist": dict(
        folders=("fashion_mnist", "FashionMNIST/raw", "fashion_mnist/raw", "fashion_mnist/FashionMNIST/raw"),
        addresses=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        md5=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        classes=[
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
    ),
}
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class IdxImages(ImageData):
    """MNIST or Fashion-MNIST: 60,000 images of 1x28x28 bytes for train and val, 10,000 for test.

    Reads the four files, gzipped or not, from `data_dir`/<collection> or from torchvision's folders, and downloads missing ones.

    Args:
        collection: mnist or fashion_mnist.
        problem, name, seed, options: see `ImageData`.
        data_dir: folder of public data sets, see `data_directory`.

    Raises:
        DataError: files are missing or damaged.
    """

    def __init__(self, collection: str, problem: str, name: str, seed: int, data_dir: str | None, **options: Any):
        super().__init__(problem, name, seed, **options)
        if collection not in COLLECTIONS:
            raise DataError(f"dataset.collection={collection}: choose one of {', '.join(COLLECTIONS)}")
        self.collection, self.data_dir = collection, data_dir

    def read(self) -> Content:
        known = COLLECTIONS[self.collection]
        paths = self._find(known)
        images, labels = [], []
        for image_path, label_path in (paths[:2], paths[2:]):
            images.append(read_idx(image_path, 3))
            labels.append(read_idx(label_path, 1))
            if len(labels[-1]) != len(images[-1]):
                raise DataError(
                    f"{label_path}: {len(labels[-1]):,} labels for the {len(images[-1]):,} images of {image_path.name}"
                )
            if images[-1].shape[1:] != images[0].shape[1:]:
                raise DataError(
                    f"{image_path}: images of {images[-1].shape[1:]}, but {paths[0].name} has {images[0].shape[1:]}"
                )
            if len(labels[-1]) and labels[-1].max() >= len(known["classes"]):
                raise DataError(
                    f"{label_path}: label {labels[-1].max()}, but {self.collection} has the "
                    f"classes 0 to {len(known['classes']) - 1}"
                )
        first_test, (height, width) = len(images[0]), images[0].shape[1:]
        pixels = [f"pixel_{row}_{column}" for row in range(height) for column in range(width)]
        label = Label(list(range(len(known["classes"]))), known["classes"])
        return labelled_images(
            np.concatenate(images)[:, None],
            np.concatenate(labels),
            label,
            str(paths[0].parent),
            pixels,
            test_rows=first_test,
        )

    def _find(self, known: dict[str, Any]) -> list[Path]:
        root = data_directory(self.data_dir)
        folders = [root / folder for folder in known["folders"]] + [root]
        for folder in folders[:-1] if root.name != self.collection else folders:
            paths = [
                next((path for path in (folder / f"{file}.gz", folder / file) if path.is_file()), None)
                for file in FILES
            ]
            if all(paths):
                return paths
        fetch(
            dict(zip((f"{file}.gz" for file in FILES), known["md5"])), known["addresses"], folders[0], self.collection
        )
        return [folders[0] / f"{file}.gz" for file in FILES]
