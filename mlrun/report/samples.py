"""Samples of generative models as pictures, drawn without matplotlib: one is due every few epochs."""

from __future__ import annotations

import numpy as np

from mlrun.report.control import Film

SIDE, GAP = 360, 1  # pixels of a picture, about; between images, before they are enlarged
BLUE, GREY = (0, 114, 178), (200, 200, 200)


def grid(images, columns: int | None = None):
    """(rows, channels, height, width) from 0 to 1 -> a PIL picture of all, row by row, enlarged without smoothing."""
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


def scatter(points, real):
    """Points (rows, 2) in blue over real ones in grey, in the frame of the real ones."""
    from PIL import Image

    low, high = real.min(axis=0), real.max(axis=0)
    margin = 0.1 * (high - low)
    low, high = low - margin, high + margin
    canvas = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    for rows, colour in ((real[:4000], GREY), (points, BLUE)):
        rows = np.asarray(rows)[:, :2]
        places = ((rows - low) / (high - low) * (SIDE - 1)).round()
        inside = ((places >= 0) & (places < SIDE - 1)).all(axis=1)
        x, y = places[inside].astype(int).T
        for dx in (0, 1):
            for dy in (0, 1):
                canvas[SIDE - 1 - y - dy, x + dx] = colour
    return Image.fromarray(canvas)


def film(frames, rate: float = 3.0):
    """(epoch, picture) in order -> a film that says which epoch it is, and stays on the last."""
    from PIL import Image, ImageDraw

    pictures = []
    for epoch, picture in frames:
        told = Image.new("RGB", (picture.width, picture.height + 16), "white")
        told.paste(picture, (0, 16))
        ImageDraw.Draw(told).text((4, 2), f"epoch {epoch}", fill="black")
        pictures.append(told)
    return Film([*pictures, *[pictures[-1]] * 4], rate, f"epochs {frames[0][0]} to {frames[-1][0]}")
