"""Scenes of real handwritten digits over textures of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.images import IdxImages
from mlrun.data.datasets.scene_data import SceneData
from mlrun.data.datasets.scene_targets import TARGETS
from mlrun.data.datasets.scene_texts import Scene
from mlrun.data.datasets.tables import read_bundled
from mlrun.data.features import Photo
from mlrun.data.readers.images import read_whole
from mlrun.data.row_data import Content
from mlrun.data.splits import PARTS, TRAIN_DEV, part_sizes
from mlrun.errors import DataError

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}  # of the digits, and of the width of the photographs, for each part
SINGLE = ("localization", "classification")  # problems with one digit per scene
INK = 0.3  # share of the darkest ink of a digit at which a pixel belongs to it
CONTRAST = 90  # least difference of a digit's brightness from what it is drawn on, of 255
TRIES = 20  # places that are tried for a digit


class DigitScenes(SceneData):
    """Digits of random size, colour and place over a texture. A handwritten digit occurs only in scenes of one part.

    60% of the digits, and of the width of each photograph, are for scenes of train, 20% each for val and test, whatever `split` says about
    the numbers of scenes. A box is the smallest one around the visible ink of a digit.

    Args:
        problem: what is predicted: detection (boxes), segmentation (the class of each pixel), localization (one digit per scene: class and box),
            multi_label (which digits occur), classification (one digit per scene), regression (the number of digits), captioning (a text),
            question_answering (the number of a digit, or whether it occurs, as a class, from image and question), or visual_questions (answers
            in words to several questions per scene).
        name, seed, options: see `SceneData`.
        digits: sklearn (1,797 of 8x8), or mnist (28x28, from `data_dir`).
        data_dir: folder of public data sets.
        scenes: their number, divided into parts by `split`.
        side: height and width of a scene.
        count: smallest and largest number of digits in a scene.
        size: smallest and largest height and width of a digit in pixels, or several such pairs, each as likely.
        overlap: largest fraction of a digit's square that may overlap another's.
        clutter: pieces of digits and bars, at most, that are not objects of a scene.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        digits: str = "sklearn",
        scenes: int = 2000,
        side: int = 64,
        count: Sequence[int] = (1, 4),
        size: Sequence[int] | Sequence[Sequence[int]] = (14, 30),
        overlap: float = 0.1,
        clutter: int = 2,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.check_problem(tuple(TARGETS))
        if digits not in ("sklearn", "mnist"):
            raise DataError(f"dataset.digits={digits}: choose sklearn or mnist")
        for key, value, least in (("scenes", scenes, 1), ("side", side, 16)):
            if not isinstance(value, int) or value < least:
                raise DataError(f"dataset.{key}={value}: give a whole number of at least {least}")
        heights: Any = [size] if all(isinstance(one, int) for one in size) else size
        for key, pair, low, high in (("count", count, 0, 50), *(("size", pair, 6, side) for pair in heights)):
            if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
                raise DataError(
                    f"dataset.{key}={list(pair)}: give the smallest and the largest, between {low} and {high}"
                )
        if not 0 <= overlap <= 1 or clutter < 0:
            raise DataError(
                f"dataset.overlap={overlap}, dataset.clutter={clutter}: must be a fraction and a number of strokes, both at least 0"
            )
        self.digits, self.data_dir, self.scenes, self.side = digits, data_dir, scenes, side
        self.count = (1, 1) if problem in SINGLE else (count[0], count[1])
        self.heights: list[tuple[int, int]] = [(pair[0], pair[1]) for pair in heights]
        self.overlap, self.clutter = overlap, clutter

    def read(self) -> Content:
        seed = self.split.get("seed")
        seed = self.seed if seed is None else seed
        parts = {part: self.split.get(part) for part in PARTS}
        sizes = part_sizes(parts, self.scenes, self.title)
        pixels, classes = self._handwriting()
        order = np.random.default_rng([seed, 0]).permutation(len(classes))
        photographs = [bundled_photograph(name) for name in PHOTOGRAPHS]
        ends = np.cumsum([0, *SHARES.values()])
        made: list[Scene] = []
        sources: list[tuple[int, int, tuple[str, ...]]] = []
        for place, (part, low, high) in enumerate(zip(PARTS, ends, ends[1:])):
            own = order[round(low * len(order)) : round(high * len(order))]
            textures = [
                image[:, :, round(low * image.shape[2]) : round(high * image.shape[2])] for image in photographs
            ]
            random = np.random.default_rng([seed, 1 + place])
            first = len(made)
            made += [self._draw(pixels[own], classes[own], textures, random) for _ in range(sizes[part])]
            sources.append((first, len(made), (part, TRAIN_DEV) if part == "train" else (part,)))
        found = TARGETS[self.problem](made, np.random.default_rng([seed, 9]))
        columns = {
            "image": np.stack([scene.pixels for scene in made]),
            **{name: one for name, (one, _) in found.items()},
        }
        features = {"image": Photo(), **{name: feature for name, (_, feature) in found.items()}}
        source = "scikit-learn" if self.digits == "sklearn" else "mnist"
        return Content(columns, features, source, (list(columns)[-1],), sources=sources)

    def _handwriting(self) -> tuple[np.ndarray, np.ndarray]:
        """((digits, height, width) from 0 to 1, (digits,) classes)."""
        if self.digits == "sklearn":
            x, y = read_bundled("digits")
            return x.reshape(-1, 8, 8).astype(np.float32) / 16, np.asarray(y).astype(np.int64)
        content = IdxImages("mnist", "classification", "mnist", self.seed, self.data_dir).read()
        return content.columns["image"][:, 0].astype(np.float32) / 255, content.columns["label"]

    # --- drawing -----------------------------------------------------------------------------------------------------

    def _draw(
        self, pixels: np.ndarray, classes: np.ndarray, textures: Sequence[np.ndarray], random: np.random.Generator
    ) -> Scene:
        canvas = _texture(textures[int(random.integers(len(textures)))], self.side, random)
        mask = np.zeros((self.side, self.side), np.uint8)
        owner = np.zeros((self.side, self.side), np.int16)  # 1 + the number of the digit on top
        for _ in range(random.integers(self.clutter + 1)):
            _scribble(canvas, pixels[random.integers(len(pixels))], random)
        squares: list[tuple[int, int, int]] = []
        labels: list[int] = []
        for _ in range(random.integers(self.count[0], self.count[1] + 1)):
            square = self._place(squares, random)
            if square is None:
                continue
            left, top, size = square
            row = random.integers(len(pixels))
            ink = _resized(pixels[row], size)
            window = canvas[:, top : top + size, left : left + size]
            _blend(window, ink, random)
            inside = ink > INK * ink.max()
            squares.append(square)
            labels.append(int(classes[row]))
            mask[top : top + size, left : left + size][inside] = 1 + classes[row]
            owner[top : top + size, left : left + size][inside] = len(labels)
        boxes, kept = _boxes(owner, len(labels))
        return Scene(canvas.round().clip(0, 255).astype(np.uint8), mask, boxes, np.array(labels, np.int64)[kept])

    def _place(
        self, squares: Sequence[tuple[int, int, int]], random: np.random.Generator
    ) -> tuple[int, int, int] | None:
        """(left, top, size) of a new digit; None if there is no room."""
        for _ in range(TRIES):
            smallest, largest = self.heights[random.integers(len(self.heights))]
            size = int(random.integers(smallest, largest + 1))
            left, top = (int(random.integers(self.side - size + 1)) for _ in range(2))
            shared = [
                max(0, min(left + size, x + other) - max(left, x)) * max(0, min(top + size, y + other) - max(top, y))
                for x, y, other in squares
            ]
            if all(one <= self.overlap * min(size, other) ** 2 for one, (_, _, other) in zip(shared, squares)):
                return left, top, size
        return None


def bundled_photograph(name: str) -> np.ndarray:
    """(3, height, width) uint8 of one of scikit-learn's photographs. Raises DataError for another name."""
    from importlib.util import find_spec

    if name not in PHOTOGRAPHS:
        raise DataError(
            f"{name}: there is no such file, and scikit-learn's photographs are {' and '.join(PHOTOGRAPHS)}"
        )
    found = find_spec("sklearn")
    assert found is not None and found.origin is not None
    return read_whole(Path(found.origin).parent / "datasets" / "images" / name)


def _texture(image: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    """(3, side, side) float: a square of an image, enlarged at random and mirrored, with less contrast than the digits."""
    cut = int(random.integers(side // 2, min(2 * side, *image.shape[1:]) + 1))
    top, left = (int(random.integers(size - cut + 1)) for size in image.shape[1:])
    square = image[:, top : top + cut, left : left + cut].astype(np.float32)
    square = np.stack([_resized(channel, side) for channel in square])
    if random.random() < 0.5:
        square = square[:, :, ::-1]
    mean = square.mean()
    return random.uniform(50, 205) + random.uniform(0.3, 0.7) * (square - mean)


def _resized(values: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """(height, width) float32 at another size (width, height), bilinear."""
    from PIL import Image

    shape = (size, size) if isinstance(size, int) else size
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(shape, Image.Resampling.BILINEAR))


def _blend(window: np.ndarray, ink: np.ndarray, random: np.random.Generator) -> None:
    """Draws ink (height, width) from 0 to 1 in a random colour that differs in brightness from a window (3, height, width)."""
    under = float(window.mean())
    choices = [(low, high) for low, high in ((0.0, under - CONTRAST), (under + CONTRAST, 255.0)) if high > low]
    low, high = choices[random.integers(len(choices))] if choices else ((0.0, 30.0) if under > 127 else (225.0, 255.0))
    colour = (random.uniform(low, high) + random.uniform(-40, 40, 3)).clip(0, 255)
    window += ink * (colour[:, None, None] - window)


def _scribble(canvas: np.ndarray, digit: np.ndarray, random: np.random.Generator) -> None:
    """Draws a bar, or a quarter of a digit that shows no more than a stroke."""
    side = canvas.shape[1]
    length = int(random.integers(side // 8, side // 4))
    if random.random() < 0.5:
        shape = (length, max(2, length // 5))
        ink = np.ones(shape if random.random() < 0.5 else shape[::-1], np.float32)
    else:
        half = len(digit) // 2
        row, column = (int(start) for start in random.integers(0, 2, 2) * half)
        ink = _resized(digit[row : row + half, column : column + half], length)
    top, left = (int(random.integers(side - size + 1)) for size in ink.shape)
    _blend(canvas[:, top : top + ink.shape[0], left : left + ink.shape[1]], ink, random)


def _boxes(owner: np.ndarray, count: int) -> tuple[np.ndarray, list[int]]:
    """((digits, 4) boxes around the visible ink of each digit, the digits that are visible)."""
    boxes, kept = [], []
    for number in range(count):
        inside = owner == number + 1
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if len(rows):
            boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            kept.append(number)
    return np.array(boxes, np.float32).reshape(-1, 4), kept
