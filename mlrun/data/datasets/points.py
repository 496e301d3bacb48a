"""Points from known distributions, against which generative models can be checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlrun.data.features import Label, Vector
from mlrun.data.row_data import ArrayData, Content
from mlrun.errors import DataError


class Points(ArrayData):
    """Generated points (rows, 2), each labelled with its component of the distribution. A subclass writes `draw`.

    `centers` (modes, 2) for mixtures of Gaussians, else None.

    Args:
        problem, name, seed, options: see `ArrayData`.
        rows: number of points.
        noise: standard deviation.
        data_seed: seed of the generator, independent of the seed of the run.
        normalize: see `ArrayData`.
    """

    centers: np.ndarray | None = None
    splits_by_class = False

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 10_000,
        noise: float = 0.05,
        data_seed: int = 0,
        normalize: str | None = "none",
        **options: Any,
    ):
        super().__init__(problem, name, seed, normalize=normalize, **options)
        if problem != "generation":
            raise DataError(f"dataset.problem={problem}: {name} is a set for generation")
        if not isinstance(rows, int) or rows < 10:
            raise DataError(f"dataset.rows={rows}: give at least 10")
        self.count, self.noise, self.data_seed = rows, noise, data_seed

    def read(self) -> Content:
        x, y = self.draw(self.count, np.random.default_rng(self.data_seed))
        return Content(
            {"point": x.astype(np.float32), "part": y.astype(np.int64)},
            {"point": Vector(["x", "y"]), "part": Label(list(range(self.parts)))},
            "generated",
            ("part",),
        )

    @property
    def parts(self) -> int:
        """Number of components of the distribution."""
        raise NotImplementedError

    def draw(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Fresh points (count, 2) of the distribution, and their components (count,)."""
        raise NotImplementedError

    def labelled(self, dataset: dict[str, Any]) -> dict[str, Any] | None:
        """None: samples are compared with the known distribution, not by a classifier."""
        return None


class Mixture(Points):
    """Equally likely Gaussians with the same standard deviation around `centers`."""

    centers: np.ndarray

    @property
    def parts(self) -> int:
        return len(self.centers)

    def draw(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = random.permutation(np.arange(count) % self.parts)
        return self.centers[y] + self.noise * random.standard_normal((count, 2)), y


class Ring(Mixture):
    """Gaussians equally spaced on a circle (Metz et al. 2017, Unrolled GAN: 8 modes, radius 2, deviation 0.02)."""

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        modes: int = 8,
        radius: float = 2.0,
        noise: float = 0.02,
        **options: Any,
    ):
        super().__init__(problem, name, seed, noise=noise, **options)
        angles = 2 * np.pi * np.arange(modes) / modes
        self.centers = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


class Grid(Mixture):
    """side x side Gaussians, `spacing` apart (Srivastava et al. 2017, VEEGAN: side 5, spacing 2, deviation 0.05)."""

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        side: int = 5,
        spacing: float = 2.0,
        noise: float = 0.05,
        **options: Any,
    ):
        super().__init__(problem, name, seed, noise=noise, **options)
        ticks = spacing * (np.arange(side) - (side - 1) / 2)
        self.centers = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


class Moons(Points):
    """Two interlocking half circles, like `sklearn.datasets.make_moons`, shifted to a mean of about zero."""

    @property
    def parts(self) -> int:
        return 2

    def draw(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = random.permutation(np.arange(count) % 2)
        angles = random.uniform(0, np.pi, count)
        x = np.where(
            y[:, None] == 0,
            np.stack([np.cos(angles), np.sin(angles)], 1),
            np.stack([1 - np.cos(angles), 0.5 - np.sin(angles)], 1),
        )
        return x - [0.5, 0.25] + self.noise * random.standard_normal((count, 2)), y
