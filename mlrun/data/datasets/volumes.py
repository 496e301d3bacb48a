"""Generated volumes and clips with one class each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlrun.data.features import Label, Volume
from mlrun.data.row_data import ArrayData, Content
from mlrun.errors import DataError

SOLIDS = ("ball", "cube", "octahedron", "cylinder", "cross", "torus")
MOTIONS = ("right", "left", "down", "up", "still")


class Volumes(ArrayData):
    """Generated volumes (rows, 1, depth, height, width). A subclass writes `draw`.

    Args:
        problem, name, seed, options: see `ArrayData`.
        rows: number of volumes.
        size: voxels of each side.
        noise: standard deviation of the Gaussian noise.
        data_seed: seed of the generator, independent of the seed of the run.
    """

    names: Sequence[str] = ()  # of the classes

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 1200,
        size: int = 16,
        noise: float = 0.2,
        data_seed: int = 0,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if problem != "classification":
            raise DataError(f"dataset.problem={problem}: {name} is a classification set")
        if size < 8:
            raise DataError(f"dataset.size={size}: shapes need at least 8 cells on a side")
        self.count, self.size, self.noise, self.data_seed = rows, size, noise, data_seed

    def read(self) -> Content:
        rng = np.random.default_rng(self.data_seed)
        y = rng.permutation(np.arange(self.count) % len(self.names))
        x = self.draw(rng, y) + self.noise * rng.standard_normal((self.count, *[self.size] * 3))
        label = Label(list(range(len(self.names))), list(self.names))
        return Content(
            {"volume": x[:, None].astype(np.float32), "label": y.astype(np.int64)},
            {"volume": Volume([1, *[self.size] * 3]), "label": label},
            "generated",
        )

    def draw(self, rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
        """(rows, depth, height, width) from 0 to 1 for classes y (rows,)."""
        raise NotImplementedError


class Solids(Volumes):
    """Solids of about the same volume, at a random position, with a random rotation about the depth axis."""

    names = SOLIDS

    def draw(self, rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
        grid = np.stack(np.meshgrid(*[np.arange(self.size) + 0.5] * 3, indexing="ij"), -1)
        result = np.empty((len(y), *[self.size] * 3))
        for row, kind in enumerate(y):
            radius = rng.uniform(0.27, 0.36) * self.size
            centre = self.size / 2 + rng.uniform(-1, 1, 3) * (self.size / 2 - radius) * 0.5
            angle = rng.uniform(0, 2 * np.pi)
            turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
            result[row] = solid(SOLIDS[kind], (grid - centre) @ turn / radius)
        return result


def solid(name: str, p: np.ndarray) -> np.ndarray:
    """Whether points p (..., 3) lie inside; each volume is within a third of that of a ball of radius 0.9."""
    a = np.abs(p)
    if name == "ball":
        return (p**2).sum(-1) < 0.81
    if name == "cube":
        return a.max(-1) < 0.72
    if name == "octahedron":
        return a.sum(-1) < 1.3
    if name == "cylinder":
        return ((p[..., :2] ** 2).sum(-1) < 0.36) & (a[..., 2] < 1.1)
    if name == "cross":
        return np.sort(a, axis=-1)[..., 1] < np.where(a.max(-1) < 1.1, 0.36, -1)
    ring = np.sqrt((p[..., :2] ** 2).sum(-1)) - 0.8
    return ring**2 + p[..., 2] ** 2 < 0.11


class MovingSquares(Volumes):
    """Clips of a square that moves one or two cells per frame and wraps around the edges; the class is the direction.

    A single frame does not determine the class: a network must look along time.
    """

    names = MOTIONS

    def draw(self, rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
        steps = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0), "still": (0, 0)}
        result = np.zeros((len(y), *[self.size] * 3))
        for row, kind in enumerate(y):
            side, speed = rng.integers(3, 6), rng.integers(1, 3)
            frame = np.zeros((self.size, self.size))
            frame[:side, :side] = 1
            top, left = rng.integers(0, self.size, 2)
            for t in range(self.size):
                down, across = (speed * t * step for step in steps[MOTIONS[kind]])
                result[row, t] = np.roll(frame, (top + down, left + across), axis=(0, 1))
        return result
