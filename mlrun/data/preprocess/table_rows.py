"""Encoders of table rows, and of an environment's observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.data.features import CATEGORY, DATE, Observation, Row
from mlrun.data.preprocess.columns import ColumnEncoding
from mlrun.data.preprocess.encoder import Encoder

if TYPE_CHECKING:
    from mlrun.data.examples import Examples


class RowEncoder(Encoder):
    """Table rows: see `ColumnEncoding`. normalize: of the numeric columns."""

    key = "features"
    dtype: ClassVar[Any] = np.float32
    feature: Row

    def __init__(self, feature: Row, normalize: str | None = "standardize", **settings: Any):
        super().__init__(feature)
        self.normalize = normalize

    def fit(self, column: Any) -> None:
        categories = [name for name, kind in self.feature.kinds if kind == CATEGORY]
        dates = [name for name, kind in self.feature.kinds if kind == DATE]
        numeric = [name for name, kind in self.feature.kinds if kind not in (CATEGORY, DATE)]
        self.encoding = ColumnEncoding.fit(column, numeric, categories, self.normalize, dates)

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: self.encoding(column, self.dtype)}

    @property
    def spec(self) -> dict[str, Any]:
        return {"input_shape": self.encoding.shape}

    @property
    def state(self) -> dict[str, Any]:
        return self.encoding.state

    def restore(self, state: Mapping[str, Any]) -> None:
        self.encoding = ColumnEncoding(**state)

    def inherit(self, state: Mapping[str, Any]) -> bool:
        own = self.encoding
        theirs = (state["numeric"], list(state["categorical"]), state.get("dates", {}))
        fits = theirs == (own.numeric, list(own.categorical), own.dates)
        if fits:
            self.restore(state)
        return fits


class UnscaledRowEncoder(RowEncoder):
    """Unscaled table rows in double precision; a model's YAML defines the scaling for its estimator."""

    dtype = np.float64

    def __init__(self, feature: Row, **settings: Any):
        super().__init__(feature, normalize="none")

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return self.encoding.names


class ObservationEncoder(Encoder):
    """Observations of an environment: numbers as float32, state indices as one-hot rows."""

    key = "observations"
    feature: Observation

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        x = np.asarray(column)
        if self.feature.num_states is None:
            return {self.key: np.ascontiguousarray(x.reshape(len(x), *self.feature.shape), dtype=np.float32)}
        rows = np.zeros((len(x), self.feature.num_states), dtype=np.float32)
        rows[np.arange(len(x)), x.reshape(len(x), -1)[:, 0].astype(np.int64)] = 1.0
        return {self.key: rows}

    @property
    def spec(self) -> dict[str, Any]:
        states = self.feature.num_states
        shape = list(self.feature.shape) if states is None else [states]
        known = {"input_shape": shape, "observation_shape": shape}
        return known if states is None else {**known, "num_states": states}
