"""Own images, a folder for each class."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mlrun.data.datasets.image_data import ImageData
from mlrun.data.module import Content
from mlrun.errors import DataError

log = logging.getLogger("mlrun")

CHUNK, AHEAD = (
    64,
    64,
)  # files that a thread or process decodes in a turn, and such turns at most that are not yet written
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


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
            {folder.name for root in roots for folder in root.iterdir() if folder.is_dir() and _images(folder)}
        )
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: needs a folder of images for each of at least two classes, found {', '.join(classes) or 'none'}"
            )
        files = [
            [(file, place) for place, name in enumerate(classes) for file in _images(root / name)] for root in roots
        ]
        ends = np.cumsum([len(part) for part in files])
        files, y = zip(*(one for part in files for one in part))
        x, y = self._room(len(files)), np.array(y, dtype=np.int64)
        wrong = _decode(files, x, self.grey, self.num_workers)
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
        return Content(
            x,
            y,
            str(self.path),
            list(classes),
            list(classes),
            sources=_sources(parts, ends),
            names=[str(file.relative_to(self.path)) for file in files],
        )

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


def _images(folder):
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def read_folder(folder, side, grey=False):
    """(rows, channels, side, side) uint8 of all images below a folder, in the order of their names; no rows if it is not there."""
    files = _images(folder)
    x = np.empty((len(files), 1 if grey else 3, side, side), dtype=np.uint8)
    for message in _decode(files, x, grey).values():
        raise DataError(message)
    return x


def _decode(files, x, grey, workers=0):
    """Fills x (files, channels, height, width), by so many processes or, for 0, several threads. Returns {row: what is wrong with its file}."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    wrong, waiting = {}, deque()

    def take():
        start, future = waiting.popleft()
        images, messages = future.result()
        x[start : start + len(images)] = images
        wrong.update({start + row: message for row, message in messages.items()})

    ignore_interrupt = {
        "initializer": signal.signal,
        "initargs": (signal.SIGINT, signal.SIG_IGN),
    }  # it is for this process
    with ProcessPoolExecutor(workers, **ignore_interrupt) if workers else ThreadPoolExecutor() as pool:
        for number, chunk in enumerate(chunks):
            waiting.append((number * CHUNK, pool.submit(_decoded, chunk, x.shape[2:], grey)))
            if len(waiting) > AHEAD:  # a slow disk must not fill the memory with what is to be written
                take()
        while waiting:
            take()
    return wrong


def _decoded(files, size, grey):
    images, wrong = np.zeros((len(files), 1 if grey else 3, *size), np.uint8), {}
    for row, file in enumerate(files):
        try:
            images[row] = read_image(file, size, grey)
        except DataError as error:
            wrong[row] = str(error)
    return images, wrong


def read_image(path, size, grey=False):
    """(channels, height, width) uint8: the middle of the picture at size (height, width), smoothly resized. Raises DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size[1], 2 * size[0]))  # large photographs are decoded small at once
            return fit_image(image, size, grey)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None


def fit_image(image, size, grey=False):
    """A PIL image as (channels, height, width) uint8."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    # more than 8 bits: the values as they are would be cut at 255
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535 if values.max() > 255 else 255
        image = Image.fromarray((values.clip(0, top) / top * 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:  # onto white, as it is shown
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(
        ImageOps.fit(image.convert("L" if grey else "RGB"), (size[1], size[0]), Image.Resampling.BILINEAR)
    )
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
