"""Unpaired images of two domains, for image-to-image translation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.digest import add_to_digest
from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Image, Label
from mlrun.data.module import DataModule
from mlrun.data.preprocess.images import ImageEncoder
from mlrun.data.readers.images import read_folder
from mlrun.data.row_data import RowData
from mlrun.data.splits import PARTS, part_sizes, split_rows
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.batches import Batches
    from mlrun.data.preprocess.unpaired import UnpairedPreprocessor


class Domain(NamedTuple):
    """x: (rows, channels, height, width), raw uint8 or float; y: (rows,) int64 classes, or None."""

    x: np.ndarray
    y: np.ndarray | None


class Unpaired(DataModule):
    """Two domains, A and B, of images of one size, features `image_a` and `image_b`. A subclass writes `read`.

    A model reads images of domain A. Batches hold `pixel_values_a`, `pixel_values_b` (batch, channels, height, width), drawn
    independently, and `labels_a`, `labels_b` (batch,), -1 without classes.

    Args:
        problem, name, seed, split: see `DataModule`.
        batch_size: images of each domain in a batch.
        flip: mirror training images at random.
    """

    preprocessor = "mlrun.data.preprocess.unpaired.UnpairedPreprocessor"
    value_range = 255.0  # of the pixels
    names: Sequence[str] = ("A", "B")  # of the domains, for figures

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        split: Mapping[str, Any] | None = None,
        batch_size: int = 1,
        flip: bool = False,
    ):
        super().__init__(problem, name, seed, split, batch_size)
        self.flip = flip
        self._source = ""
        self._parts: dict[str, tuple[Domain, Domain]] = {}

    def read(self) -> dict[str, tuple[Domain, Domain]]:
        """Part -> domains A and B. Raises DataError."""
        raise NotImplementedError

    def prepare(self) -> None:
        if not self._parts:
            self._parts = self.read()

    def domains(self, part: str) -> tuple[Domain, Domain]:
        """Domains A and B of a part."""
        self.prepare()
        return self._parts[part]

    def counterpart(self, x: np.ndarray, to: str) -> np.ndarray | None:
        """The ground-truth translation of images of the other domain into domain `to`, "A" or "B"; None if it is unknown.

        x: pixels (rows, channels, height, width) from 0 to 1.
        """
        return None

    @property
    def features(self) -> dict[str, Feature]:
        image = Image(list(self.domains("train")[0].x.shape[1:]), self.value_range)
        return {"image_a": image, "image_b": image}

    @property
    def source(self) -> str:
        return self._source

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("image_a",)

    @property
    def sizes(self) -> dict[str, int]:
        """Part -> images of the larger domain, the number drawn from each domain per epoch; 0 if either domain is empty."""
        counts = {part: [len(domain.x) for domain in self.domains(part)] for part in PARTS}
        return {part: max(each) if min(each) else 0 for part, each in counts.items()}

    @cached_property
    def digest(self) -> str:
        """Hash of the raw values, the same for the same data on every machine."""
        digest = hashlib.blake2b(digest_size=8)
        for part in PARTS:
            for domain in self.domains(part):
                add_to_digest(digest, domain.x)
        return digest.hexdigest()

    def examples(self, part: str) -> Examples:
        """Images of domain A; the domains share no rows."""
        return Examples({"image_a": self.domains(part)[0].x}, {"image_a": self.features["image_a"]})

    def loader(
        self,
        part: str,
        preprocessor: UnpairedPreprocessor,  # type: ignore[override]  # `DataModule.preprocessor` guarantees the class
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> Batches | None:
        from mlrun.data.datasets.unpaired_batches import UnpairedBatches

        domains = self.domains(part)
        if not all(len(domain.x) for domain in domains):
            return None
        return UnpairedBatches(
            [np.ascontiguousarray(domain.x) for domain in domains],
            [np.full(len(domain.x), -1) if domain.y is None else domain.y for domain in domains],
            preprocessor.scaling.on_device(device),
            self.batch_size,
            device,
            flip=self.flip and shuffle and part == "train",
            shuffle=shuffle,
            seed=self.seed,
            shard=shard,
        )


CHANGES = ("inverted", "coloured", "thickened")


class Changed(Unpaired):
    """Domain A: half of the images of another set, unchanged; domain B: the other half, transformed. No image is in both.

    Args:
        images: a dataset of images with classes; its parts are the parts of both domains.
        problem, name, seed, options: see `Unpaired`.
        change: "inverted" (light on dark becomes dark on light), "coloured" (each image in a random colour), "thickened" (strokes wider
            by a pixel, of images of 16 pixels or more by two).
    """

    value_range = 1.0

    def __init__(
        self,
        images: RowData,
        problem: str,
        name: str,
        seed: int,
        change: Literal["inverted", "coloured", "thickened"] = "inverted",
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if change not in CHANGES:
            raise DataError(f"dataset.change={change}: choose one of {', '.join(CHANGES)}")
        self.images, self.change = images, change
        self.names = ("plain", change)

    def read(self) -> dict[str, tuple[Domain, Domain]]:
        self.images.prepare()
        self._source = self.images.source
        parts = {}
        for part in PARTS:
            examples = self.images.examples(part)
            x, y = self._pixels(examples), examples[self.images.targets[0]]
            halves = slice(0, None, 2), slice(1, None, 2)  # rows come in a random order
            parts[part] = (
                Domain(self._plain(x[halves[0]]), y[halves[0]]),
                Domain(self._changed(x[halves[1]]), y[halves[1]]),
            )
        return parts

    def _pixels(self, examples: Examples) -> np.ndarray:
        """(rows, channels, height, width) float32 from 0 to 1, in the image size configured for that dataset."""
        (name,) = self.images.inputs
        image = examples.features[name]
        if not isinstance(image, Image):
            raise DataError(f"dataset.images of {self.name}: give a dataset of images with classes")
        encoder = ImageEncoder(image, **{**self.images.preprocessing, "normalize": "unit"})
        encoder.fit(examples[name])
        return encoder.encode(examples[name])[encoder.key]

    def _plain(self, x: np.ndarray) -> np.ndarray:
        return np.repeat(x, 3, axis=1) if self.change == "coloured" and x.shape[1] == 1 else x

    def _changed(self, x: np.ndarray) -> np.ndarray:
        if self.change == "coloured":
            return coloured(x, np.random.default_rng(len(x)))
        return inverted(x) if self.change == "inverted" else thickened(x)

    def counterpart(self, x: np.ndarray, to: str) -> np.ndarray | None:
        if self.change == "inverted":
            return inverted(x)
        return thickened(x) if self.change == "thickened" and to == "B" else None

    def labelled(self, dataset: dict[str, Any]) -> dict[str, Any]:
        # the same split for all seeds
        images = {**dataset["images"], "split": {**(dataset["images"].get("split") or {}), "seed": 0}}
        kept = {key: dataset[key] for key in ("name", "change")}
        return {**kept, "_target_": f"{__name__}.BothDomains", "problem": "classification", "images": images}


class BothDomains(ImageData):
    """The images of both domains of `Changed` with their classes, for a classifier of both domains. Parts are those of `images`.

    Args: see `Changed`; options: of `ImageData`.
    """

    def __init__(
        self,
        images: RowData,
        problem: str,
        name: str,
        seed: int,
        change: Literal["inverted", "coloured", "thickened"] = "inverted",
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.domains = Changed(images, "image_translation", name, seed, change=change)

    def prepare(self) -> None:
        if self._rows is None:
            self.domains.prepare()
            parts = {part: self.domains.domains(part) for part in PARTS}
            x = np.concatenate([domain.x for part in PARTS for domain in parts[part]])
            y = np.concatenate([domain.y for part in PARTS for domain in parts[part]])
            ends = np.cumsum([sum(len(domain.x) for domain in parts[part]) for part in PARTS])
            label = self.domains.images.target
            if not isinstance(label, Label):
                raise DataError(f"dataset.images of {self.name}: give a dataset of images with classes")
            self._content = labelled_images(x, y, label, self.domains.source, value_range=1.0)
            self._rows = {part: np.arange(start, end) for part, start, end in zip(PARTS, [0, *ends], ends)}


def inverted(x: np.ndarray) -> np.ndarray:
    """Inverts the brightness of pixels from 0 to 1."""
    return 1 - x


def thickened(x: np.ndarray) -> np.ndarray:
    """Dilates: each pixel becomes the maximum of 2x2 pixels in images below 16 pixels, else of 3x3."""
    reach = (1,) if min(x.shape[2:]) < 16 else (-1, 1)
    for axis in (2, 3):
        x = np.max([x, *(_moved(x, step, axis) for step in reach)], axis=0)
    return x


def _moved(x: np.ndarray, step: int, axis: int) -> np.ndarray:
    result = np.zeros_like(x)
    ahead, behind = (
        slice(max(step, 0), x.shape[axis] + min(step, 0)),
        slice(max(-step, 0), x.shape[axis] + min(-step, 0)),
    )
    at = [slice(None)] * 4
    at[axis] = ahead
    source = [slice(None)] * 4
    source[axis] = behind
    result[tuple(at)] = x[tuple(source)]
    return result


def coloured(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey (rows, 1 or 3, height, width) -> (rows, 3, height, width): each image in a random fully saturated colour."""
    hue = rng.random(len(x)) * 6
    colours = np.clip(np.abs((hue[:, None] + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (x.mean(axis=1, keepdims=True) * colours[:, :, None, None]).astype(np.float32)


class Folders(Unpaired):
    """Two folders of images, as the central square resized to side x side pixels.

    Args:
        path: with the folders trainA, trainB and, if there are any, valA, valB, testA, testB (the layout of CycleGAN's sets), or A and B,
            which are split.
        problem, name, seed, options: see `Unpaired`.
        side: height and width in pixels.
        grey: read images as grey.

    Raises:
        DataError: a folder is missing; the message names it.
    """

    def __init__(
        self,
        path: str | Path,
        problem: str,
        name: str,
        seed: int,
        side: int = 64,
        grey: bool = False,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.path, self.side, self.grey, self.title = Path(path).expanduser(), side, grey, str(path)
        self._source = str(self.path)

    def read(self) -> dict[str, tuple[Domain, Domain]]:
        laid_out = (self.path / "trainA").is_dir()
        parts: dict[str, list[Domain]] = {part: [] for part in PARTS}
        for letter in "AB":
            given = {
                part: self._folder(f"{part}{letter}" if laid_out else letter)
                for part in (PARTS if laid_out else PARTS[:1])
            }
            if not len(given["train"]):
                missing = f"train{letter}" if laid_out else letter
                raise DataError(
                    f"dataset.path={self.path}: no images in {missing}; it needs trainA and trainB (testA, testB), or A and B"
                )
            absent = [part for part in PARTS[1:] if not len(given.get(part, ()))]  # taken from the training images
            split = {"train": None, **{part: self.split.get(part, 0) for part in absent}}
            images = given["train"]
            sizes = part_sizes(split, len(images), self.title)
            rows = split_rows(np.arange(len(images)), sizes, self.seed, name=self.title)
            for part in PARTS:
                parts[part].append(Domain(images[rows[part]] if part in rows else given[part], None))
        return {part: (domains[0], domains[1]) for part, domains in parts.items()}

    def _folder(self, name: str) -> np.ndarray:
        return read_folder(self.path / name, self.side, self.grey)
