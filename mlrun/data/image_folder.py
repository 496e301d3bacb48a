"""Own images, a folder for each class."""

from pathlib import Path

import numpy as np

from mlrun.data.image_data import ImageData
from mlrun.data.module import Content
from mlrun.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class ImageFolder(ImageData):
    """path: with `class/image.png`, or with `train/class/…`, `val` or `test`, the latter for the test part.

    side: height and width at which the images are kept in memory, as bytes: the middle square, resized; smaller ones are
    enlarged. grey: one channel instead of three. Raises DataError naming files that cannot be read.
    """

    def __init__(self, path, problem, name, seed, side=64, grey=False, **options):
        super().__init__(problem, name, seed, **options)
        if not isinstance(side, int) or side < 1:
            raise DataError(f"dataset.side={side}: give height and width in pixels as one number")
        self.path, self.side, self.grey = Path(path).expanduser(), side, grey

    def read(self):
        if not self.path.is_dir():
            raise DataError(f"dataset.path={self.path}: there is no such folder")
        parts = [self.path / part for part in ("train", "val", "test") if (self.path / part).is_dir()]
        if parts and parts[0].name != "train":
            raise DataError(f"{self.path}: has {parts[0].name}, but no train")
        training = [self.path] if not parts else [part for part in parts if part.name != "test"] or parts
        testing = [part for part in parts if part.name == "test"]
        classes = sorted(
            {
                folder.name
                for root in (*training, *testing)
                for folder in root.iterdir()
                if folder.is_dir() and _images(folder)
            }
        )
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: needs a folder of images for each of at least two classes, found {', '.join(classes) or 'none'}"
            )
        listed = [
            [(file, place) for root in roots for place, name in enumerate(classes) for file in _images(root / name)]
            for roots in (training, testing)
        ]
        files = listed[0] + listed[1]
        x = np.empty((len(files), 1 if self.grey else 3, self.side, self.side), dtype=np.uint8)
        for row, (file, _) in enumerate(files):
            x[row] = read_image(file, (self.side, self.side), self.grey)
        y = np.array([place for _, place in files], dtype=np.int64)
        return Content(
            x, y, str(self.path), list(classes), list(classes), test_rows=len(listed[0]) if testing else None
        )


def _images(folder):
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def read_image(path, size, grey=False):
    """(channels, height, width) uint8: the middle of the picture at size (height, width), smoothly resized. Raises DataError."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size[1], 2 * size[0]))  # large photographs are decoded small at once
            image = ImageOps.exif_transpose(image).convert("L" if grey else "RGB")
            image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
