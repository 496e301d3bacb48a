"""Own images, a folder for each class."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.features import Label
from mlrun.data.readers.images import decode, images_in
from mlrun.errors import DataError

log = logging.getLogger("mlrun")


class ImageFolder(ImageData):
    """path: with `class/image.png`, or with `train/class/…` and `val` or `test` or both: those parts are then what these folders hold.

    side: height and width at which the images are kept, as bytes: the middle square, resized; smaller ones are enlarged. They are kept in
    memory, beyond resident_limit bytes in a temporary file (in TMPDIR) from which batches are read. grey: one channel instead of three.
    skip_corrupt: leave files out that cannot be read, and name them; else they are all named in a DataError.
    """

    def __init__(self, path, problem, name, seed, side=64, grey=False, skip_corrupt=False, **options):
        super().__init__(problem, name, seed, **options)
        if not isinstance(side, int) or side < 1:
            raise DataError(f"dataset.side={side}: give height and width in pixels as one number")
        self.path, self.side, self.grey, self.skip_corrupt = Path(path).expanduser(), side, grey, skip_corrupt

    def read(self):
        if not self.path.is_dir():
            raise DataError(f"dataset.path={self.path}: there is no such folder")
        parts = [self.path / part for part in ("train", "val", "test") if (self.path / part).is_dir()]
        if parts and parts[0].name != "train":
            raise DataError(f"{self.path}: has {parts[0].name}, but no train")
        roots = parts or [self.path]
        classes = sorted(
            {folder.name for root in roots for folder in root.iterdir() if folder.is_dir() and images_in(folder)}
        )
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: needs a folder of images for each of at least two classes, found {', '.join(classes) or 'none'}"
            )
        files = [
            [(file, place) for place, name in enumerate(classes) for file in images_in(root / name)] for root in roots
        ]
        ends = np.cumsum([len(part) for part in files])
        files, y = zip(*(one for part in files for one in part))
        x, y = self._room(len(files)), np.array(y, dtype=np.int64)
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

    def _room(self, count):
        shape = (count, 1 if self.grey else 3, self.side, self.side)
        if np.prod(shape) <= self.resident_limit:
            return np.empty(shape, np.uint8)
        try:
            with tempfile.TemporaryFile() as file:
                # a full disk is an error now, not a crash later
                os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))
                return np.memmap(file, np.uint8, "r+", shape=shape)
        except OSError as error:
            size = f"{np.prod(shape) / 2**30:.1f} GiB"
            raise DataError(
                f"{self.path}: {count:,} images need {size} in {tempfile.gettempdir()} ({error.strerror}); set TMPDIR, or a smaller dataset.side"
            ) from None

    def _corrupt(self, wrong):
        """Names files that cannot be read: at once all of them, or the first ones on the way if they are to be left out."""
        count = f"{len(wrong)} file{'s' * (len(wrong) > 1)} cannot be read as images"
        shown = "; ".join(wrong[:5]) + ("; ..." if len(wrong) > 5 else "")
        if not self.skip_corrupt:
            raise DataError(
                f"{self.path}: {count}: {shown}. Mend or remove them, or leave them out with dataset.skip_corrupt=true"
            )
        log.info("%s: %s, left out: %s", self.path, count, "; ".join(wrong))
        print(f"mlrun: warning: {count} and left out: {shown}", file=sys.stderr)


def _sources(parts, ends):
    """Which rows make which parts, where the folders say so: val and test are what their folders hold, else taken from train."""
    if not parts:
        return None
    own = [part.name for part in parts]
    made = {
        "train": ("train", "train_dev", *(part for part in ("val", "test") if part not in own)),
        "val": ("val",),
        "test": ("test",),
    }
    return [(start, end, made[name]) for start, end, name in zip([0, *ends], ends, own)]
