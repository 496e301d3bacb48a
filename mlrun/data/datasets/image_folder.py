"""Images of the user, in a folder for each class."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.examples import Examples
from mlrun.data.features import Label
from mlrun.data.readers.image_folders import part_folders
from mlrun.data.readers.images import DecodedFiles, check_file, decode, images_in, is_hidden
from mlrun.data.row_data import Content
from mlrun.errors import DataError

log = logging.getLogger("mlrun")

SAMPLE = 4096  # training images whose moments stand for those of all, where files are decoded during training


class ImageFolder(ImageData):
    """A folder of images with a subfolder per class.

    The images are held in memory as bytes or, beyond `resident_limit` bytes, in a temporary file in TMPDIR from which batches are read;
    with `num_workers` that file fills during the first epoch.

    Args:
        path: holds `class/image.png`, or `train/class/…` and `val`, `test` or both, which are then these parts.
        problem, name, seed, options: see `ImageData`.
        side: height and width at which the images are held: the central square, resized.
        grey: one channel instead of three.
        depth: of the folders that are classes: 1 for `cat/1.png`, 2 for `animals/cat/1.png`, whose class is "animals/cat".
        skip_corrupt: skip unreadable files and list them; if false, they are listed in a DataError.
    """

    def __init__(
        self,
        path: str | Path,
        problem: str,
        name: str,
        seed: int,
        side: int = 64,
        grey: bool = False,
        depth: int = 1,
        skip_corrupt: bool = False,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if not isinstance(side, int) or side < 1:
            raise DataError(f"dataset.side={side}: give height and width in pixels as one number")
        if not isinstance(depth, int) or depth < 1:
            raise DataError(
                f"dataset.depth={depth}: give 1 for a folder per class, 2 for folders of such folders, and so on"
            )
        self.path, self.side, self.grey, self.skip_corrupt = Path(path).expanduser(), side, grey, skip_corrupt
        self.depth, self._notes = depth, list[str]()

    def read(self) -> Content:
        if not self.path.is_dir():
            raise DataError(f"dataset.path={self.path}: there is no such folder")
        parts = [self.path / part for part in part_folders(self.path)]
        roots = parts or [self.path]
        named = [(root, folder) for root in roots for folder in _folders(root, self.depth)]
        folders = [(root, folder) for root, folder in named if images_in(folder)]
        classes = sorted({folder.relative_to(root).as_posix() for root, folder in folders})
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: needs a folder of images for each of at least two classes, found {', '.join(classes) or 'none'}"
                + (f" {self.depth} levels below it (dataset.depth)" if self.depth > 1 else "")
            )
        found = [
            [(file, place) for place, name in enumerate(classes) for file in images_in(root / name)] for root in roots
        ]
        empty = {folder.relative_to(root).as_posix() for root, folder in named} - set(classes)
        # with `unseen_classes`, val and test have classes of their own
        unknown = set() if self.unseen_classes else set(range(len(classes))) - {place for _, place in found[0]}
        self._notes = [
            *self._nested(classes, folders),
            *([f"no images in the folders {_some(sorted(empty))}"] if empty else []),
            *(
                [f"no images to learn from of {_some([classes[place] for place in sorted(unknown)])}"]
                if unknown
                else []
            ),
        ]
        ends = np.cumsum([len(part) for part in found])
        files = [file for part in found for file, _ in part]
        y = np.array([place for part in found for _, place in part], dtype=np.int64)
        checked = self._checked(files)
        self._digest = hashlib.blake2b(y.tobytes() + b"".join(mark for _, mark in checked), digest_size=8).hexdigest()
        x = self._allocate(len(files))
        if isinstance(x, np.memmap) and self.num_workers and not self.skip_corrupt:
            # the workers decode while the network trains: a file that is damaged inside is reported then
            names = [str(file.relative_to(self.path)) for file in files]
            pixels = DecodedFiles(files, x, self.grey, self.num_workers)
            return labelled_images(
                pixels, y, Label(classes), str(self.path), sources=_sources(parts, ends), names=names
            )
        wrong = decode(files, x, self.grey, self.num_workers)
        if wrong:
            self._corrupt(list(wrong.values()))
            kept = np.delete(np.arange(len(files)), list(wrong))
            for row, source in enumerate(kept):
                x[row] = x[source]
            x, y, ends = x[: len(kept)], y[kept], np.searchsorted(kept, ends)
            files = [files[row] for row in kept]
        present = set(y.tolist())
        if len(present) < len(classes):
            absent = [name for place, name in enumerate(classes) if place not in present]
            raise DataError(f"{self.path}: no image of {', '.join(absent[:5])} can be read")
        names = [str(file.relative_to(self.path)) for file in files]
        return labelled_images(x, y, Label(classes), str(self.path), sources=_sources(parts, ends), names=names)

    def _checked(self, files: Sequence[Path]) -> list[tuple[str, bytes]]:
        """`check_file` of all files. Raises DataError for damaged ones, before any is decoded, unless they are left out."""
        with ThreadPoolExecutor() as pool:
            checked = list(pool.map(check_file, files, chunksize=256))
        wrong = [message for message, _ in checked if message]
        if wrong and not self.skip_corrupt:
            self._corrupt(wrong)
        return checked

    @property
    def examples_to_learn_from(self) -> Examples:
        """Moments are those of a sample where the files are decoded during training."""
        train = self.examples("train")
        if not isinstance(self.content.columns["image"], DecodedFiles) or len(train) <= SAMPLE:
            return train
        return train.take(np.sort(np.random.default_rng(self.seed % 2**63).permutation(len(train))[:SAMPLE]))

    @property
    def digest(self) -> str:  # a cached property there
        self.prepare()
        return self._digest

    def _nested(self, classes: list[str], folders: Sequence[tuple[Path, Path]]) -> list[str]:
        """A note on which folders are the classes, if they hold further folders of images, which may be what is meant."""
        deeper = sorted({one.name for _, folder in folders for one in _folders(folder, 1) if images_in(one)})
        if not deeper:
            return []
        return [
            f"the classes are the folders {_some(classes)}, with the images of all folders in them; "
            f"for the folders {_some(deeper)} as classes: dataset.depth={self.depth + 1}"
        ]

    @property
    def summary(self) -> list[tuple[str, str]]:
        return [*super().summary, *(("note", note) for note in self._notes)]

    def _allocate(self, count: int) -> np.ndarray:
        shape = (count, 1 if self.grey else 3, self.side, self.side)
        if np.prod(shape) <= self.resident_limit:
            return np.empty(shape, np.uint8)
        try:
            with tempfile.TemporaryFile() as file:
                # report a full disk now instead of crashing later
                os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))
                return np.memmap(file, np.uint8, "r+", shape=shape)
        except OSError as error:
            size = f"{np.prod(shape) / 2**30:.1f} GiB"
            raise DataError(
                f"{self.path}: {count:,} images need {size} in {tempfile.gettempdir()} ({error.strerror}); set TMPDIR, or a smaller dataset.side"
            ) from None

    def _corrupt(self, wrong: Sequence[str]) -> None:
        """Reports unreadable files: raises DataError, or prints a warning if they are skipped."""
        count = f"{len(wrong)} file{'s' * (len(wrong) > 1)} cannot be read as images"
        shown = "; ".join(wrong[:5]) + ("; ..." if len(wrong) > 5 else "")
        if not self.skip_corrupt:
            raise DataError(
                f"{self.path}: {count}: {shown}. Repair or remove them, or skip them with dataset.skip_corrupt=true"
            )
        log.info("%s: %s, left out: %s", self.path, count, "; ".join(wrong))
        print(f"mlrun: warning: {count} and left out: {shown}", file=sys.stderr)


def _folders(root: Path, depth: int) -> list[Path]:
    """The folders this many levels below a folder."""
    found = [root]
    for _ in range(depth):
        found = [
            Path(entry)
            for above in found
            for entry in sorted(os.scandir(above), key=_name)
            if entry.is_dir() and not is_hidden(entry.name)
        ]
    return found


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ", ..." * (len(names) > 5)


def _sources(parts: Sequence[Path], ends: Sequence[int] | np.ndarray) -> list[tuple[int, int, tuple[str, ...]]] | None:
    """`sources` of `Content` where the folders define parts: val and test come from their folders, or else from train."""
    if not parts:
        return None
    own = [part.name for part in parts]
    made: dict[str, tuple[str, ...]] = {
        "train": ("train", "train_dev", *(part for part in ("val", "test") if part not in own)),
        "val": ("val",),
        "test": ("test",),
    }
    return [(start, end, made[name]) for start, end, name in zip([0, *ends], ends, own)]
