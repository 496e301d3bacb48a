"""Encoders of vectors, series, volumes, and of anything numeric as rows for estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Series, Vector, Volume, shape_of
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.scaling import Scaling

if TYPE_CHECKING:
    from mlrun.data.examples import Examples


class ArrayEncoder(Encoder):
    """Vectors, series, volumes: scaled per component or per channel with the moments of the training values.

    normalize: see `Scaling.fit`.
    """

    key = "features"

    def __init__(self, feature: Vector | Series | Volume, normalize: str | None = "standardize", **settings: Any):
        super().__init__(feature)
        self.normalize = normalize

    def fit(self, column: Any) -> None:
        self.scaling = Scaling.fit(column, self.normalize)

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: self.scaling(column)}

    @property
    def spec(self) -> dict[str, Any]:
        return {"input_shape": self.scaling.shape}

    @property
    def state(self) -> dict[str, Any]:
        return self.scaling.state

    def restore(self, state: Mapping[str, Any]) -> None:
        self.scaling = Scaling(**state)

    def inherit(self, state: Mapping[str, Any]) -> bool:
        fits = len(state["shift"]) == len(self.scaling.shift)
        if fits:
            self.scaling = Scaling(self.scaling.shape, state["shift"], state["scale"])
        return fits


class SeriesEncoder(ArrayEncoder):
    """Scaled per channel; "unit" takes the training minimum and maximum of the channel."""

    key = "input_values"

    def fit(self, column: Any) -> None:
        pooled = Scaling.fit(column.transpose(0, 2, 1).reshape(-1, column.shape[1]), self.normalize, 1)
        self.scaling = Scaling(column.shape[1:], pooled.shift, pooled.scale)

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "series_shape": self.scaling.shape}


class VolumeEncoder(ArrayEncoder):
    """Scaled by the moments of all voxels."""

    key = "pixel_values"

    def fit(self, column: Any) -> None:
        pooled = Scaling.fit(column.reshape(-1, 1), self.normalize, 1)
        self.scaling = Scaling(column.shape[1:], pooled.shift, pooled.scale)

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "volume_shape": self.scaling.shape}


class RawEncoder(Encoder):
    """Raw numbers flattened to (rows, values), the input of estimators."""

    key = "features"

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        x = np.asarray(column)
        return {self.key: x.reshape(len(x), -1) if x.ndim != 2 else x}

    @property
    def names(self) -> list[str]:
        """Names of the values; empty if they have none."""
        return list(getattr(self.feature, "names", ()) or getattr(self.feature, "pixel_names", ()))

    @property
    def spec(self) -> dict[str, Any]:
        return {"input_shape": [int(np.prod(shape_of(self.feature)))]}
