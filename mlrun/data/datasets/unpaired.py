"""Images of two domains without pairs: what translation between them learns from."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mlrun.data.datasets.image_data import ImageData
from mlrun.data.module import Content, DataModule
from mlrun.data.preprocess.transform import ImageScaling
from mlrun.data.readers.images import read_folder
from mlrun.data.spec import Spec
from mlrun.data.splits import PARTS, part_sizes, split_rows
from mlrun.errors import DataError


class Domain(NamedTuple):
    """x: (rows, channels, height, width), uint8 or float, as in the files; y: (rows,) int64 classes, or None where there are none."""

    x: np.ndarray
    y: np.ndarray | None


class Unpaired(DataModule):
    """Two domains, A and B, the images of one size. A subclass reads them: `read() -> part -> (Domain a, Domain b)`.

    A batch is x (batch, 2, channels, height, width) from -1 to 1, an image of A and one of B drawn on their own, and y (batch, 2) int64
    classes, -1 where there are none. flip: mirror training images at random.
    """

    value_range = 255.0
    names = ("A", "B")
    class_names: list[str] = []

    def __init__(self, problem, name, seed, split=None, batch_size=1, flip=False):
        super().__init__(problem, name, seed, split, batch_size)
        self.flip, self._parts = flip, None

    def read(self) -> dict[str, tuple[Domain, Domain]]:
        raise NotImplementedError

    def prepare(self):
        if self._parts is None:
            self._parts = self.read()

    def domains(self, part) -> tuple[Domain, Domain]:
        self.prepare()
        return self._parts[part]

    def counterpart(self, x, to):
        """x (rows, channels, height, width) of the other domain as it would look in domain `to` ("A" or "B"), where that is known, else None."""
        return None

    @property
    def sizes(self):
        """Part -> images of the larger domain, which is how many an epoch sees of each; 0 where one of the two has none."""
        counts = {part: [len(domain.x) for domain in self.domains(part)] for part in PARTS}
        return {part: max(each) if min(each) else 0 for part, each in counts.items()}

    @cached_property
    def digest(self):
        digest = hashlib.blake2b(digest_size=8)
        for part in PARTS:
            for domain in self.domains(part):
                digest.update(f"{domain.x.dtype.str}{domain.x.shape}".encode())
                digest.update(np.ascontiguousarray(domain.x).data)
        return digest.hexdigest()

    @cached_property
    def spec(self):
        shape = list(self.domains("train")[0].x.shape[1:])
        return Spec(self.problem, {"input_shape": shape, "image_shape": shape}, class_names=list(self.class_names))

    @cached_property
    def transform(self):
        """Pixels -> [-1, 1], the range of tanh."""
        shape, half = self.spec.facts["image_shape"], self.value_range / 2
        return ImageScaling(shape, [half] * shape[0], [half] * shape[0], value_range=self.value_range)

    def example(self, part):
        return self.domains(part)[0].x[:5]

    def loader(self, part, device="cpu", shuffle=False, shard=(0, 1)):
        import torch

        from mlrun.data.batches import UnpairedBatches

        domains = self.domains(part)
        if not all(len(domain.x) for domain in domains):
            return None
        x = [torch.from_numpy(np.ascontiguousarray(domain.x)) for domain in domains]
        y = [torch.full((len(domain.x),), -1) if domain.y is None else torch.from_numpy(domain.y) for domain in domains]
        flip = self.flip and shuffle and part == "train"
        return UnpairedBatches(
            x, y, self.transform.on_device(device), self.batch_size, device, shuffle, self.seed, shard, flip
        )


CHANGES = ("inverted", "coloured", "thickened")


class Changed(Unpaired):
    """Domain A: half of the images of another set as they are; domain B: the other half, changed. No image is in both.

    images: a data set with classes; its parts are the parts of both domains.
    change: "inverted" (light on dark becomes dark on light), "coloured" (each image in a colour of its own), "thickened" (strokes wider by
    a pixel, of small images, else by two).
    """

    def __init__(
        self, images, problem, name, seed, change: Literal["inverted", "coloured", "thickened"] = "inverted", **options
    ):
        super().__init__(problem, name, seed, **options)
        if change not in CHANGES:
            raise DataError(f"dataset.change={change}: choose one of {', '.join(CHANGES)}")
        self.images, self.change = images, change
        self.names = ("plain", change)

    def read(self):
        self.images.prepare()
        self.class_names = self.images.spec.class_names
        self.source = self.images.source
        parts = {}
        for part in PARTS:
            rows = self.images.rows(part)
            x, y = self._pixels(rows), self.images.content.y[rows]
            halves = slice(0, None, 2), slice(1, None, 2)  # rows come in a random order
            parts[part] = (
                Domain(self._plain(x[halves[0]]), y[halves[0]]),
                Domain(self._changed(x[halves[1]]), y[halves[1]]),
            )
        return parts

    value_range = 1.0

    def _pixels(self, rows):
        """(rows, channels, height, width) float32 from 0 to 1, at the size that is asked for."""
        x = self.images.take(rows).astype(np.float32) / np.float32(self.images.content.value_range)
        if self.images.resized_to is None:
            return x
        import torch

        from mlrun.data.preprocess.transform import resize

        return resize(torch.from_numpy(x), self.images.resized_to).numpy()

    def _plain(self, x):
        return np.repeat(x, 3, axis=1) if self.change == "coloured" and x.shape[1] == 1 else x

    def _changed(self, x):
        if self.change == "coloured":
            return coloured(x, np.random.default_rng(len(x)))
        return inverted(x) if self.change == "inverted" else thickened(x)

    def counterpart(self, x, to):
        if self.change == "inverted":
            return inverted(x)
        return thickened(x) if self.change == "thickened" and to == "B" else None

    def labelled(self, dataset):
        # the same for all seeds
        images = {**dataset["images"], "split": {**(dataset["images"].get("split") or {}), "seed": 0}}
        kept = {key: dataset[key] for key in ("name", "change")}
        return {**kept, "_target_": f"{__name__}.BothDomains", "problem": "classification", "images": images}


class BothDomains(ImageData):
    """The images of both domains of `Changed` with their classes, for a classifier that knows both. Parts are those of `images`."""

    def __init__(self, images, problem, name, seed, change="inverted", **options):
        super().__init__(problem, name, seed, **options)
        self.domains = Changed(images, "image_translation", name, seed, change=change)

    def prepare(self):
        if self._rows is None:
            self.domains.prepare()
            parts = {part: self.domains.domains(part) for part in PARTS}
            x = np.concatenate([domain.x for part in PARTS for domain in parts[part]])
            y = np.concatenate([domain.y for part in PARTS for domain in parts[part]])
            ends = np.cumsum([sum(len(domain.x) for domain in parts[part]) for part in PARTS])
            self._rows = {part: np.arange(start, end) for part, start, end in zip(PARTS, [0, *ends], ends)}
            spec = self.domains.images.spec
            self._content = Content(x, y, self.domains.source, spec.labels, spec.class_names, value_range=1.0)


def inverted(x):
    return 1 - x


def thickened(x):
    """Every pixel takes the largest value around it: among 2x2 pixels in images below 16 pixels, else among 3x3."""
    reach = (1,) if min(x.shape[2:]) < 16 else (-1, 1)
    for axis in (2, 3):
        x = np.max([x, *(_moved(x, step, axis) for step in reach)], axis=0)
    return x


def _moved(x, step, axis):
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


def coloured(x, rng):
    """Grey (rows, 1 or 3, height, width) -> (rows, 3, height, width): the ink of each image in a colour of full saturation."""
    hue = rng.random(len(x)) * 6
    colours = np.clip(np.abs((hue[:, None] + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (x.mean(axis=1, keepdims=True) * colours[:, :, None, None]).astype(np.float32)


class Folders(Unpaired):
    """path: with the folders trainA, trainB and, if there are any, valA, valB, testA, testB (the layout of CycleGAN's own sets), or A and B, which
    are split. Images are brought to side x side pixels: the middle square, resized. Raises DataError naming what is missing."""

    def __init__(self, path, problem, name, seed, side=64, grey=False, **options):
        super().__init__(problem, name, seed, **options)
        self.path, self.side, self.grey, self.title = Path(path).expanduser(), side, grey, str(path)
        self.source = str(self.path)

    def read(self):
        laid_out = (self.path / "trainA").is_dir()
        parts = {part: [] for part in PARTS}
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
            sizes = {"train": None, **{part: self.split.get(part, 0) for part in absent}}
            images, sizes = given["train"], part_sizes(sizes, len(given["train"]), self.title)
            chosen = split_rows(np.arange(len(images)), sizes, self.seed, name=self.title)
            for part in PARTS:
                parts[part].append(Domain(images[chosen[part]] if part in chosen else given[part], None))
        return {part: tuple(domains) for part, domains in parts.items()}

    def _folder(self, name):
        return read_folder(self.path / name, self.side, self.grey)
