"""Drawn faces with ten points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlrun.data.datasets.scene_data import SceneData
from mlrun.data.features import Photo, Points
from mlrun.data.readers.objects import mirrored
from mlrun.data.row_data import Content
from mlrun.errors import DataError

# (across, down, towards the viewer) of each point of the mean face; half the width of the head is 1
FACE = {
    "left_brow": (-0.42, -0.55, 0.35),
    "right_brow": (0.42, -0.55, 0.35),
    "left_eye": (-0.40, -0.28, 0.30),
    "right_eye": (0.40, -0.28, 0.30),
    "nose": (0.0, 0.12, 0.65),
    "mouth_left": (-0.34, 0.52, 0.30),
    "mouth_right": (0.34, 0.52, 0.30),
    "mouth_top": (0.0, 0.46, 0.42),
    "mouth_bottom": (0.0, 0.64, 0.40),
    "chin": (0.0, 1.12, 0.25),
}
NAMES = list(FACE)
MIRRORED = mirrored(NAMES)
SPREAD = 0.06  # standard deviation of each point between faces
FINE = 3  # pixels drawn per pixel of the image and axis


class SyntheticFaces(SceneData):
    """Grey drawings of faces with ten points, under random pose, light and noise. Shape, pose and light of each face are drawn from the seed.

    Args:
        problem, name, seed, options: see `SceneData`.
        rows: number of faces.
        side: height and width in pixels.
        size: smallest and largest half width of the head, relative to the side.
        turn: largest rotation in the image in degrees, in either direction.
        yaw: largest turn to the side in degrees.
        noise: largest standard deviation of Gaussian noise, relative to white.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 1500,
        side: int = 64,
        size: Sequence[float] = (0.2, 0.32),
        turn: float = 30.0,
        yaw: float = 35.0,
        noise: float = 0.1,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.check_problem(("landmarks",))
        if not isinstance(rows, int) or rows < 1:
            raise DataError(f"dataset.rows={rows}: give a whole number of at least 1")
        if len(size) != 2 or not 0 < size[0] <= size[1] <= 0.4:
            raise DataError(
                f"dataset.size={list(size)}: give the smallest and the largest half width, between 0 and 0.4"
            )
        self.count, self.side, self.size = rows, side, size
        self.turn, self.yaw, self.noise = np.radians(turn), np.radians(yaw), noise

    def read(self) -> Content:
        random = np.random.default_rng([self.seed, 3])
        drawn = [self._face(random) for _ in range(self.count)]
        columns = {
            "image": np.stack([pixels for pixels, _ in drawn])[:, None],
            "points": np.stack([points for _, points in drawn]).astype(np.float32),
        }
        features = {"image": Photo(channels=1), "points": Points(NAMES, MIRRORED)}
        return Content(columns, features, "generated", ("points",))

    def _face(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """((side, side) uint8, (points, 2))."""
        from PIL import Image, ImageDraw

        shape = np.array(list(FACE.values())) + random.normal(0, SPREAD, (len(FACE), 3))
        yaw, turn = random.uniform(-self.yaw, self.yaw), random.uniform(-self.turn, self.turn)
        radius = random.uniform(self.size[0], self.size[1]) * self.side
        room = self.side / 2 - 1.3 * radius
        center = self.side / 2 + random.uniform(-1, 1, 2) * max(0.0, room)

        def placed(points: np.ndarray) -> np.ndarray:
            flat = np.stack([points[:, 0] * np.cos(yaw) + points[:, 2] * np.sin(yaw), points[:, 1]], 1)
            rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            return flat @ rotation * radius + center

        points = placed(shape)
        background, skin = random.uniform(0.1, 0.5), random.uniform(0.55, 0.9)
        image = Image.new("F", (FINE * self.side,) * 2, background)
        draw = ImageDraw.Draw(image)

        def oval(at: Sequence[float], width: float, height: float, shade: float, flat: bool = False) -> None:
            angle = np.linspace(0, 2 * np.pi, 24)
            depth = np.full(24, at[2]) if flat else np.zeros(24)
            outline = np.stack([at[0] + width * np.cos(angle), at[1] + height * np.sin(angle), depth], 1)
            draw.polygon([tuple(one) for one in FINE * placed(outline)], fill=shade)

        def line(names: Sequence[Sequence[float]], shade: float, width: float) -> None:
            draw.line(
                [tuple(one) for one in FINE * placed(np.array(names))],
                fill=shade,
                width=max(1, round(width * radius * FINE)),
            )

        at = dict(zip(NAMES, shape))
        hair = random.uniform(0.0, 0.9)
        if random.random() < 0.7:
            oval((0, -0.35, 0), 1.12, 1.1, hair)
        oval((0, at["chin"][1] / 2 - 0.6, 0), 1.0, at["chin"][1] / 2 + 0.6, skin)
        for name in ("left_eye", "right_eye"):
            oval(at[name], 0.2, 0.12, 1.0, flat=True)
            oval(at[name], 0.08, 0.1, random.uniform(0.0, 0.3), flat=True)
        for name in ("left_brow", "right_brow"):
            tilt = random.uniform(-0.08, 0.08)
            line([at[name] + (-0.2, tilt, 0), at[name] + (0.2, -tilt, 0)], min(hair, skin - 0.3), 0.09)
        nose = at["nose"]
        line([(nose[0] * 0.3, -0.2, 0.4), nose, nose + np.array([-0.12, 0.04, -0.1])], skin - 0.3, 0.06)
        mouth = [at[name] for name in ("mouth_left", "mouth_top", "mouth_right", "mouth_bottom")]
        draw.polygon([tuple(one) for one in FINE * placed(np.array(mouth))], fill=skin - random.uniform(0.25, 0.45))
        pixels = np.asarray(image.resize((self.side, self.side), Image.Resampling.BOX))
        return self._lit(pixels, random), points

    def _lit(self, pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Light from one side, contrast, noise; (side, side) uint8."""
        y, x = np.mgrid[: self.side, : self.side] / self.side - 0.5
        angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, 0.6)
        pixels = pixels * (1 + strength * (np.cos(angle) * x + np.sin(angle) * y))
        pixels = random.uniform(0.6, 1.0) * pixels + random.uniform(0, 0.15)
        pixels = pixels + random.normal(0, random.uniform(0, self.noise), pixels.shape)
        return (255 * pixels).round().clip(0, 255).astype(np.uint8)
