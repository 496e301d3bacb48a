"""Image files as arrays of bytes."""

from __future__ import annotations

import mmap
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlrun.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Result = TypeVar("Result")

CHUNK, AHEAD = 64, 64  # files per task of a thread or process; tasks whose results wait to be written, at most
AT_ONCE = 4096  # files that are decoded beside what is kept
ENDS = 64  # bytes at either end of a file that are looked at
MARKS = (  # how files of a format begin, and what stands at their end
    (b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n\x1a\n", b"IEND"), (b"GIF8", b";"),
)  # fmt: skip
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


def images_in(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by path; none if the folder does not exist.

    Hidden files and folders are left out: they hold previews and backups of other programs.
    """
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.rglob("*")
        if is_image(file) and not any(is_hidden(part) for part in file.relative_to(folder).parts)
    )


def is_image(file: Path) -> bool:
    """Whether a file has the name of an image."""
    return file.suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden."""
    return name.startswith(".")


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


class DecodedFiles:
    """Image files as an array (files, channels, height, width) uint8 on disk. A file is decoded when it is first read, and kept.

    Forked processes share what was decoded, so the workers of a DataLoader decode the files of the first epoch while a network trains.

    Args:
        files: one per row.
        x: (files, channels, height, width) uint8 in a file that forked processes share.
        grey: one channel instead of three.
        workers: processes that decode where many files are read at once; 0: threads.
    """

    is_on_disk = True  # see `mlrun.data.examples`

    def __init__(self, files: Sequence[Path], x: np.memmap, grey: bool, workers: int):
        self.files, self.x, self.grey, self.workers = files, x, grey, workers
        self.dtype, self.shape, self.ndim, self.size = x.dtype, x.shape, x.ndim, x.size
        shared = mmap.mmap(-1, max(1, len(files)))  # anonymous, and shared with forked processes
        self._done = np.frombuffer(shared, dtype=np.uint8, count=len(files))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Rows, by a slice, an index or an array of indices. Raises DataError for a file that cannot be decoded."""
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        missing = np.unique(chosen[self._done[chosen] == 0])
        for start in range(0, len(missing), AT_ONCE):
            self._decode(missing[start : start + AT_ONCE])
        return np.asarray(self.x[rows])

    def _decode(self, rows: np.ndarray) -> None:
        files = [self.files[row] for row in rows]
        if len(files) <= CHUNK:
            pixels, wrong = _decoded(files, self.x.shape[2:], self.grey)
        else:
            pixels = np.empty((len(files), *self.x.shape[1:]), np.uint8)
            wrong = decode(files, pixels, self.grey, self.workers)
        for message in wrong.values():
            raise DataError(message)
        self.x[rows] = pixels
        self._done[rows] = 1

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def check_file(file: Path) -> tuple[str, bytes]:
    """(what is wrong with an image file, else ""; what identifies it).

    Reads the first and last bytes. Only a file whose bytes are not those of a complete image of a common format is decoded.
    """
    if not file.is_file():  # opening a pipe would wait for ever
        return f"{file}: not an image that can be read (not a file)", b""
    try:
        with open(file, "rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(ENDS)
            stream.seek(max(0, size - ENDS))
            tail = stream.read(ENDS)
    except OSError as error:
        return f"{file}: not an image that can be read ({error.strerror})", b""
    wrong = ""
    if not any(head.startswith(magic) and end in tail for magic, end in MARKS):
        wrong = _decoded([file], (1, 1), grey=True)[1].get(0, "")
    return wrong, size.to_bytes(8, "little") + head + tail


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

    def fitted(image: Image) -> np.ndarray:
        image.draft("RGB", (2 * size[1], 2 * size[0]))  # decodes large photographs at reduced size
        return fit_image(image, size, grey)

    return _opened(path, fitted)


def read_whole(path: Path | str, grey: bool = False) -> np.ndarray:
    """(channels, height, width) uint8: the whole picture at its own size. Raises DataError."""
    return _opened(path, lambda image: as_pixels(upright(image), grey))


def read_indices(path: Path | str) -> np.ndarray:
    """(height, width) values of a picture of one channel as they are stored: indices into its palette, grey values, or 0 and 1. Raises DataError
    for a picture in colours, or one that cannot be read."""

    def values(image: Image) -> np.ndarray:
        if image.mode in ("P", "L", "I;16", "I"):
            return np.asarray(image)
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8)
        channels = np.asarray(image.convert("RGB"))
        if (channels != channels[..., :1]).any():  # different colours may have the same grey value
            raise DataError(
                f"{path}: a picture in colours; a mask has one channel with the value of a class in each pixel, or a palette"
            )
        return channels[..., 0]

    return _opened(path, values)


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) of a picture, from the head of its file. Raises DataError."""

    def size(image: Image) -> tuple[int, int]:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # its rows are stored as columns
        return (image.width, image.height) if turned else (image.height, image.width)

    return _opened(path, size)


def _opened(path: Path | str, use: Callable[[Image], Result]) -> Result:
    """The result of a function of an opened image. Raises DataError for a file that cannot be read."""
    from PIL import Image, UnidentifiedImageError

    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe or a device might never end
        raise DataError(f"{path}: not an image that can be read (not a regular file)")
    try:
        with Image.open(path) as image:
            return use(image)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None


class ImageFiles(Sequence[np.ndarray]):
    """A column of image files, each read on access: (channels, height, width) uint8.

    Args:
        paths: of the files.
        grey: one channel instead of three.
        sizes: (files, 2) heights and widths, None if they are not known yet.
    """

    def __init__(self, paths: Sequence[Path | str], grey: bool = False, sizes: np.ndarray | None = None):
        self.paths, self.grey = list(paths), grey
        self._sizes = sizes

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, (int, np.integer)):
            return read_whole(self.paths[rows], self.grey)
        chosen = np.arange(len(self))[rows]
        sizes = None if self._sizes is None else self._sizes[chosen]
        return ImageFiles([self.paths[row] for row in chosen], self.grey, sizes)

    @property
    def sizes(self) -> np.ndarray:
        """(files, 2) heights and widths."""
        if self._sizes is None:
            self._sizes = np.array([image_size(path) for path in self.paths], dtype=np.int64).reshape(-1, 2)
        return self._sizes


def sizes_of(column: Any) -> np.ndarray:
    """(rows, 2) heights and widths of a column of a `Photo`."""
    if isinstance(column, ImageFiles):
        return column.sizes
    if hasattr(column, "shape"):
        return np.tile(np.array(column.shape[-2:]), (len(column), 1))
    return np.array([one.shape[-2:] for one in column]).reshape(-1, 2)


def framed(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """An image (channels, height, width) at another size with its proportions: in the upper left corner, black beside or below it."""
    from PIL import Image

    if image.shape[1:] == tuple(size):
        return image
    scale = frame_scale(np.array([image.shape[1:]]), size)[0]
    height, width = (max(1, min(most, round(side * scale))) for side, most in zip(image.shape[1:], size))
    made = np.zeros((len(image), *size), np.uint8)
    for channel, pixels in zip(made, image):
        channel[:height, :width] = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return made


def in_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """The image (1 or 3, height, width) converted to this number of channels: 1 for grey, 3 for RGB."""
    from PIL import Image

    if len(image) == channels:
        return image
    if channels == 1:
        return np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))[None]
    return np.repeat(image, channels, axis=0)


def frame_scale(sizes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(rows,) pixels of the framed image per pixel of the original, for originals of `sizes` (rows, 2)."""
    return (np.asarray(size) / sizes).min(1)


def fit_image(image: Image, size: Sequence[int], grey: bool = False) -> np.ndarray:
    """A PIL image as (channels, height, width) uint8: its centre, resized."""
    from PIL import Image, ImageOps

    image = ImageOps.fit(upright(image).convert("L" if grey else "RGB"), (size[1], size[0]), Image.Resampling.BILINEAR)
    return as_pixels(image, grey)


def as_pixels(image: Image, grey: bool = False) -> np.ndarray:
    """A PIL image as (channels, height, width) uint8."""
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def upright(image: Image) -> Image:
    """A PIL image of 8 bits per channel without transparency, turned as the camera was held."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    # more than 8 bits: a direct conversion would clip the values at 255
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        largest = values.max()
        top = 65535 if largest > 255 else 1 if image.mode == "F" and largest <= 1 else 255
        image = Image.fromarray((values.clip(0, top) / top * 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:  # onto white, as viewers show it
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
