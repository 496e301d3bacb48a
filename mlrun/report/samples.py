"""Pictures of samples of generative models, drawn without matplotlib because one is due every few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlrun.data.features import Vector
from mlrun.data.row_data import RowData
from mlrun.report.captions import explained
from mlrun.report.film import Film

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from mlrun.data.module import DataModule
    from mlrun.tasks.generation import Unsupervised

SIDE, GAP = 640, 1  # approximate pixels of a picture; gap between images before enlargement
MANY_CLASSES = 16  # largest number of classes with one column each
REAL_POINTS = 4000  # largest number drawn behind samples
PAUSE = 4  # repetitions of the last picture of a film
BLUE, GREY = (0, 114, 178), (200, 200, 200)


def picture(task: Unsupervised, data: DataModule, x: Tensor, columns: int | None = None) -> Image | None:
    """Rows of the network's data as a grid of images, or as points over the data; None for rows of another kind.

    Args:
        task: converts rows to the unit of the data.
        data: the training data.
        x: (rows, *input_shape).
        columns: of the grid; None: one for each class of a conditional model, or about as many as rows.
    """
    if task.makes_images:
        classes = getattr(task, "num_classes", 0)
        by_class = columns is None and 1 < classes <= MANY_CLASSES
        names = getattr(data.target, "names", None)
        ordered = f", a column for each class ({', '.join(names)})" if by_class and names else ""
        return explained(grid(task.natural(x), classes if by_class else columns), f"{len(x)} samples{ordered}.")
    (name, *_) = data.inputs
    feature = data.features[name]
    if not isinstance(feature, Vector) or len(feature.names) < 2:
        return None
    real = points_of(data)
    about = f"Blue: {len(x):,} samples. Grey: {min(len(real), REAL_POINTS):,} rows of the data."
    return explained(scatter(task.natural(x), real), about)


def points_of(data: DataModule) -> np.ndarray:
    """All rows of the first input, (rows, components), in the order of the data."""
    assert isinstance(data, RowData)
    return np.asarray(data.content.columns[data.inputs[0]])


def grid(images: np.ndarray, columns: int | None = None) -> Image:
    """(rows, channels, height, width) from 0 to 1 -> a picture of all, row by row, enlarged without interpolation."""
    from PIL import Image

    images = (255 * np.asarray(images).clip(0, 1)).round().astype(np.uint8)
    count, channels, height, width = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    canvas = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 96, dtype=np.uint8)
    for place, image in enumerate(images):
        top, left = (GAP + at * (size + GAP) for at, size in zip(divmod(place, columns), (height, width)))
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas[..., :3])
    scale = max(1, round(SIDE / max(picture.size)))
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def scatter(points: np.ndarray, real: np.ndarray) -> Image:
    """The first two components of points (rows, components) in blue over real ones in grey, in the frame of the real ones."""
    from PIL import Image

    points, real = (np.asarray(rows)[:, :2] for rows in (points, real))
    low, high = real.min(axis=0), real.max(axis=0)
    margin = 0.1 * (high - low)
    low, high = low - margin, high + margin
    canvas = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    for rows, colour in ((real[:REAL_POINTS], GREY), (points, BLUE)):
        places = ((rows - low) / (high - low) * (SIDE - 1)).round()
        inside = ((places >= 0) & (places < SIDE - 1)).all(axis=1)
        x, y = places[inside].astype(int).T
        for dx in (0, 1):
            for dy in (0, 1):
                canvas[SIDE - 1 - y - dy, x + dx] = colour
    return Image.fromarray(canvas)


def film(frames: Sequence[tuple[int, Image]], rate: float = 3.0) -> Film:
    """(epoch, picture) in order -> a film that captions each picture with its epoch and pauses on the last. rate: pictures per second."""
    from PIL import Image, ImageDraw

    pictures = []
    for epoch, picture in frames:
        captioned = Image.new("RGB", (picture.width, picture.height + 16), "white")
        captioned.paste(picture, (0, 16))
        ImageDraw.Draw(captioned).text((4, 2), f"epoch {epoch}", fill="black")
        pictures.append(captioned)
    return Film([*pictures, *[pictures[-1]] * PAUSE], rate, f"epochs {frames[0][0]} to {frames[-1][0]}")
