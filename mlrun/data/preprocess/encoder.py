"""Encoders turn one feature into tensors: the interface, and the encoders of arrays, table rows and targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.data.features import (
    CATEGORY,
    DATE,
    Feature,
    Image,
    Label,
    Labels,
    Observation,
    Row,
    Series,
    Value,
    Values,
    Vector,
    Volume,
    shape_of,
)
from mlrun.data.predictions import (
    LabelPredictions,
    LabelsPredictions,
    Predictions,
    SeveralValuesPredictions,
    ValuePredictions,
)
from mlrun.data.preprocess.columns import ColumnEncoding
from mlrun.data.preprocess.scaling import ImageScaling, Scaling, deviation, nonzero
from mlrun.data.readers.images import sizes_of
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.augment.motion import Part
    from mlrun.data.examples import Examples

FLOAT_LIMIT = 64 * 2**20  # largest part in bytes of float32 that is stored normalized


class Encoder(ABC):
    """Encodes one feature as one or several named arrays. Constructed with the feature and the settings of its kind.

    A subclass learns its parameters in `fit`, takes them in `restore`, returns them as `state`, and provides values to networks in `spec`.
    """

    key: ClassVar[str]  # name of the main tensor in a batch
    further_keys: ClassVar[tuple[str, ...]] = ()  # names of the other tensors

    def __init__(self, feature: Feature, **settings: Any):
        self.feature = feature
        self.name = ""  # of the feature, set by the preprocessor
        self.inputs: dict[str, Encoder] = {}  # of a target: the encoders of the inputs, set by the preprocessor

    def fit(self, column: Any) -> None:
        """Learns from the column of the training rows; most encoders learn nothing."""

    @abstractmethod
    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        """Name -> array (rows, ...), `Sequences`, or a list with an array for each row where sizes differ.

        examples: the rows of the column, for a target whose tensors depend on an input, such as a span of a text.
        """

    @property
    def names(self) -> list[str]:
        """Names of the columns of a matrix; empty if they have none."""
        return []

    @property
    def spec(self) -> dict[str, Any]:
        """Shapes and sizes that a network may request by name, as plain values."""
        return {}

    @property
    def state(self) -> dict[str, Any]:
        """The learned parameters, as plain containers."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes a `state`."""

    def inherit(self, state: Mapping[str, Any]) -> bool:
        """Takes the parameters that another run learned for a feature of this kind. Returns False, and changes nothing, if they are
        incompatible."""
        return False

    def extend(self, words: Sequence[str]) -> None:
        """Takes further words into its vocabulary, if it has one of words."""

    def compact(self, column: Any) -> dict[str, Any]:
        """Like `encode`, but in the storage format of the data; `finish` completes the encoding batch by batch on the device."""
        raise NotImplementedError

    def finish(self, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
        """The function that completes `compact` for a batch of the main tensor."""
        raise NotImplementedError

    def is_large(self, column: Any, rows: int) -> bool:
        """Whether this many rows of a column should stay compact until their batches are used."""
        return False

    # --- targets only --------------------------------------------------------------------------------------------

    outputs: ClassVar[frozenset[str]] = frozenset()  # names of the task outputs that `decode` reads
    follows: ClassVar[bool] = False  # whether the target is still right, after `follow`, if its image is augmented
    follows_joined: ClassVar[bool] = False  # the same if images are joined, as by `Mosaic`

    def prepare(self, train: Examples) -> None:
        """Learns from several columns of the training rows, once all encoders are fitted; most encoders learn nothing."""

    def follow(self, batch: dict[str, Any], parts: Sequence[Part]) -> None:
        """Changes its tensors in a batch whose images an augmentation step has moved."""

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> Predictions:
        """Predictions of this target from a task's outputs as arrays. examples: the inputs of these rows."""
        raise NotImplementedError


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


class ImageEncoder(Encoder):
    """Images: scaled per channel, resized.

    Args:
        normalize: see `Scaling.fit`.
        image_size: height and width of the network input, one number or both; None for those of the files.
        enlarge_to: the same, but only for smaller images; a model's `min_image_size` sets it.
    """

    key = "pixel_values"
    feature: Image

    def __init__(
        self,
        feature: Image,
        normalize: str | None = "standardize",
        image_size: int | list[int] | None = None,
        enlarge_to: int | None = None,
        **settings: Any,
    ):
        super().__init__(feature)
        self.normalize, self.image_size, self.enlarge_to = normalize, image_size, enlarge_to

    @property
    def _resized_to(self) -> list[int] | None:
        """[height, width] of the network input if they differ from those of the files, else None."""
        size = shape_of(self.feature)[1:]
        if self.image_size is not None:
            wanted = [self.image_size] * 2 if isinstance(self.image_size, int) else list(self.image_size)
        else:
            wanted = [max(side, self.enlarge_to or 0) for side in size]
        return None if wanted == size else wanted

    def fit(self, column: Any) -> None:
        scaling = Scaling.fit(column, self.normalize, self.feature.value_range)
        self.scaling = ImageScaling(
            scaling.shape, scaling.shift, scaling.scale, self._resized_to, self.feature.value_range
        )

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: self.scaling(column)}

    def compact(self, column: Any) -> dict[str, Any]:
        return {self.key: np.asarray(column).reshape(len(column), *self.scaling.shape)}

    def finish(self, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
        return self.scaling.on_device(device)

    def zoom(self, column: Any) -> np.ndarray:
        """(rows, 2) pixels of the network input per pixel of the original image, for x and y."""
        height, width = self.spec["input_shape"][1:]
        own = sizes_of(column)
        return np.stack([width / own[:, 1], height / own[:, 0]], 1)

    def is_large(self, column: Any, rows: int) -> bool:
        floats = 4 * rows * int(np.prod(self.spec["input_shape"]))
        return self.scaling.image_size is not None or (
            getattr(column, "dtype", None) == np.uint8 and floats > FLOAT_LIMIT
        )

    @property
    def spec(self) -> dict[str, Any]:
        shape = [self.scaling.shape[0], *(self.scaling.image_size or self.scaling.shape[1:])]
        return {"input_shape": shape, "image_shape": shape}

    @property
    def state(self) -> dict[str, Any]:
        return self.scaling.state

    def restore(self, state: Mapping[str, Any]) -> None:
        self.scaling = ImageScaling(**state)

    def inherit(self, state: Mapping[str, Any]) -> bool:
        own = self.scaling
        fits = len(state["shift"]) == len(own.shift)
        if fits:  # in units of the brightness of white
            unit = own.value_range / state["value_range"]
            shift, scale = (np.asarray(state[name]) * unit for name in ("shift", "scale"))
            self.scaling = ImageScaling(own.shape, shift, scale, own.image_size, own.value_range)
        return fits


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


# --- targets ---------------------------------------------------------------------------------------------------------


class LabelEncoder(Encoder):
    """Class indices (rows,) int64. Decodes `probabilities` (rows, classes)."""

    key = "labels"
    outputs = frozenset({"probabilities"})
    follows = True
    feature: Label

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: np.asarray(column, dtype=np.int64)}

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "target": self.feature.kind,
            "num_outputs": len(self.feature.classes),
            "num_classes": len(self.feature.classes),
            "target_std": 1.0,
        }

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> LabelPredictions:
        probabilities = np.asarray(outputs["probabilities"])
        return LabelPredictions(self.feature.classes, probabilities.argmax(axis=1), probabilities)


class LabelsEncoder(Encoder):
    """One float32 per class, 1 if the row belongs to it. Decodes `probabilities` (rows, classes), with thresholds of 1/2
    unless `thresholds` (classes,) are among the outputs."""

    key = "labels"
    outputs = frozenset({"probabilities"})
    follows = True
    feature: Labels

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: np.asarray(column, dtype=np.float32)}

    @property
    def spec(self) -> dict[str, Any]:
        count = len(self.feature.classes)
        return {"target": self.feature.kind, "num_outputs": count, "num_classes": count, "target_std": 1.0}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> LabelsPredictions:
        probabilities = np.asarray(outputs["probabilities"])
        thresholds = np.asarray(outputs.get("thresholds", np.full(probabilities.shape[1], 0.5)))
        return LabelsPredictions(self.feature.classes, probabilities, thresholds)


class ValueEncoder(Encoder):
    """Values standardized by the moments of the training rows, (rows,) float32. Decodes `values` (rows,) back to the target's unit."""

    key = "labels"
    outputs = frozenset({"values"})
    feature: Value
    mean, std = 0.0, 1.0

    def fit(self, column: Any) -> None:
        self.mean, self.std = float(np.mean(column)), float(nonzero(deviation(column)))

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: ((np.asarray(column) - self.mean) / self.std).astype(np.float32)}

    @property
    def spec(self) -> dict[str, Any]:
        return {"target": self.feature.kind, "num_outputs": 1, "target_std": self.std}

    @property
    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.std = state["mean"], state["std"]

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> ValuePredictions:
        return ValuePredictions(np.asarray(outputs["values"]).astype(np.float64) * self.std + self.mean)


class ValuesEncoder(Encoder):
    """Several values, each standardized by the moments of the training rows, (rows, values) float32. Decodes `values` (rows, values) back to
    the units of the targets."""

    key = "labels"
    outputs = frozenset({"values"})
    feature: Values

    def fit(self, column: Any) -> None:
        self.mean, self.std = np.mean(column, axis=0), nonzero(deviation(column))

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: ((np.asarray(column) - self.mean) / self.std).astype(np.float32)}

    @property
    def spec(self) -> dict[str, Any]:
        return {"target": self.feature.kind, "num_outputs": len(self.feature.names), "target_std": 1.0}

    @property
    def state(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.std = np.asarray(state["mean"]), np.asarray(state["std"])

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> SeveralValuesPredictions:
        values = np.asarray(outputs["values"]).astype(np.float64) * self.std + self.mean
        return SeveralValuesPredictions(self.feature.names, values)


# --- for estimators --------------------------------------------------------------------------------------------------


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


class UnscaledRowEncoder(RowEncoder):
    """Unscaled table rows in double precision; a model's YAML defines the scaling for its estimator."""

    dtype = np.float64

    def __init__(self, feature: Row, **settings: Any):
        super().__init__(feature, normalize="none")

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return self.encoding.names


def check_sizes(**sizes: int | None) -> None:
    """Raises DataError for a size in pixels that is not a whole number of at least 1."""
    for key, size in sizes.items():
        if size is not None and (not isinstance(size, int) or size < 1):
            raise DataError(f"dataset.{key}={size}: give height and width in pixels as one number, or null")
