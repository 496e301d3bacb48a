"""Points of known distributions: what a generative model makes of them can be checked against the truth."""

from __future__ import annotations

import numpy as np

from mlrun.data.features import Label, Vector
from mlrun.data.module import ArrayData, Content
from mlrun.errors import DataError


class Points(ArrayData):
    """Generated points (rows, 2) with the number of the part of the distribution that each comes from as label.

    rows: how many; noise: standard deviation; data_seed: of the generation, whatever the seed of the run.
    `centers` (modes, 2) for mixtures of Gaussians, else None.
    """

    centers = None
    splits_by_class = False

    def __init__(self, problem, name, seed, rows=10_000, noise=0.05, data_seed=0, normalize="none", **options):
        super().__init__(problem, name, seed, normalize=normalize, **options)
        if problem != "generation":
            raise DataError(f"dataset.problem={problem}: {name} is a set for generation")
        if not isinstance(rows, int) or rows < 10:
            raise DataError(f"dataset.rows={rows}: give at least 10")
        self.count, self.noise, self.data_seed = rows, noise, data_seed

    def read(self):
        x, y = self.draw(self.count, np.random.default_rng(self.data_seed))
        return Content(
            {"point": x.astype(np.float32), "part": y.astype(np.int64)},
            {"point": Vector(["x", "y"]), "part": Label(list(range(self.parts)))},
            "generated",
            ("part",),
        )

    parts: int

    def draw(self, count, random):
        """(points (count, 2), parts (count,)) of the distribution: fresh data, as many as wanted."""
        raise NotImplementedError


class Mixture(Points):
    """Equally likely Gaussians of the same deviation around `centers`."""

    @property
    def parts(self):
        return len(self.centers)

    def draw(self, count, random):
        y = random.permutation(np.arange(count) % self.parts)
        return self.centers[y] + self.noise * random.standard_normal((count, 2)), y


class Ring(Mixture):
    """Gaussians evenly on a circle (Metz et al. 2017, Unrolled GAN: 8 modes, radius 2, deviation 0.02)."""

    def __init__(self, problem, name, seed, modes=8, radius=2.0, noise=0.02, **options):
        super().__init__(problem, name, seed, noise=noise, **options)
        angles = 2 * np.pi * np.arange(modes) / modes
        self.centers = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


class Grid(Mixture):
    """side x side Gaussians, `spacing` apart (Srivastava et al. 2017, VEEGAN: side 5, spacing 2, deviation 0.05)."""

    def __init__(self, problem, name, seed, side=5, spacing=2.0, noise=0.05, **options):
        super().__init__(problem, name, seed, noise=noise, **options)
        ticks = spacing * (np.arange(side) - (side - 1) / 2)
        self.centers = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


class Moons(Points):
    """Two half circles that interlock, as `sklearn.datasets.make_moons`, moved to a mean of about zero."""

    parts = 2

    def draw(self, count, random):
        y = random.permutation(np.arange(count) % 2)
        angles = random.uniform(0, np.pi, count)
        x = np.where(
            y[:, None] == 0,
            np.stack([np.cos(angles), np.sin(angles)], 1),
            np.stack([1 - np.cos(angles), 0.5 - np.sin(angles)], 1),
        )
        return x - [0.5, 0.25] + self.noise * random.standard_normal((count, 2)), y
