"""Image files as arrays of bytes."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlrun.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK, AHEAD = 64, 64  # files per task of a thread or process; tasks whose results wait to be written, at most
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def images_in(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by path; none if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def read_folder(folder: Path, side: int, grey: bool = False) -> np.ndarray:
    """(rows, channels, side, side) uint8 of all images below a folder, sorted by path; no rows if the folder does not exist."""
    files = images_in(folder)
    x = np.empty((len(files), 1 if grey else 3, side, side), dtype=np.uint8)
    for message in decode(files, x, grey).values():
        raise DataError(message)
    return x


def decode(files: Sequence[Path], x: np.ndarray, grey: bool, workers: int = 0) -> dict[int, str]:
    """Decodes image files into an array.

    Args:
        files: one per row.
        x: (files, channels, height, width) uint8, filled in place.
        grey: one channel instead of three.
        workers: number of processes; 0: several threads.

    Returns:
        Row -> error message of an unreadable file.
    """
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    wrong: dict[int, str] = {}
    waiting: deque[tuple[int, Future[tuple[np.ndarray, dict[int, str]]]]] = deque()

    def take() -> None:
        start, future = waiting.popleft()
        images, messages = future.result()
        x[start : start + len(images)] = images
        wrong.update({start + row: message for row, message in messages.items()})

    pool: Executor
    if workers:  # this process handles an interrupt
        pool = ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    else:
        pool = ThreadPoolExecutor()
    with pool:
        for number, chunk in enumerate(chunks):
            waiting.append((number * CHUNK, pool.submit(_decoded, chunk, x.shape[2:], grey)))
            if len(waiting) > AHEAD:  # bounds the memory when the disk is slow
                take()
        while waiting:
            take()
    return wrong


def _decoded(files: Sequence[Path], size: Sequence[int], grey: bool) -> tuple[np.ndarray, dict[int, str]]:
    images = np.zeros((len(files), 1 if grey else 3, *size), np.uint8)
    wrong: dict[int, str] = {}
    for row, file in enumerate(files):
        try:
            images[row] = read_image(file, size, grey)
        except DataError as error:
            wrong[row] = str(error)
    return images, wrong


def read_image(path: Path | str, size: Sequence[int], grey: bool = False) -> np.ndarray:
    """(channels, height, width) uint8: the centre of the picture at size (height, width), resized bilinearly. Raises DataError."""
    from PIL import Image, UnidentifiedImageError

    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe or a device might never end
        raise DataError(f"{path}: not an image that can be read (it is no regular file)")
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size[1], 2 * size[0]))  # decodes large photographs at reduced size
            return fit_image(image, size, grey)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None


def fit_image(image: Image, size: Sequence[int], grey: bool = False) -> np.ndarray:
    """A PIL image as (channels, height, width) uint8."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    # more than 8 bits: a direct conversion would clip the values at 255
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535 if values.max() > 255 else 255
        image = Image.fromarray((values.clip(0, top) / top * 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:  # onto white, as viewers show it
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(
        ImageOps.fit(image.convert("L" if grey else "RGB"), (size[1], size[0]), Image.Resampling.BILINEAR)
    )
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
