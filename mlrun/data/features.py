"""Feature kinds: type, shape, dtype and unit of one named part of an example. The preprocessor decides how a model reads it.

An example is a dict of named raw values, such as `{"image": ..., "label": ...}`; a `Feature` describes the values of one name for all
examples. The docstring of each kind describes the column of raw values in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

# kinds of table columns
NUMBER, BOOLEAN, DATE, CATEGORY, TEXT, PATH = "number", "boolean", "date", "category", "text", "path"


@dataclass(frozen=True)
class Feature:
    """Base of all kinds. Subclass it to add a kind; `state` and `restore` refer to it by its import path."""

    kind: ClassVar[str]
    encoder: ClassVar[str | None] = None  # dotted name of its `Encoder` for networks
    estimator_encoder: ClassVar[str | None] = None  # the same for estimators, which take matrices
    evaluators: ClassVar[tuple[str, ...]] = ()  # defaults of a model that predicts it

    def columns(self, name: str) -> list[tuple[str, str]]:
        """(column, NUMBER | BOOLEAN | DATE | CATEGORY | TEXT | PATH) of the table columns of this feature; empty if a table cannot hold it."""
        return []

    def state(self) -> dict[str, Any]:
        """Plain containers from which `restore` builds the same feature."""
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            **{f.name: getattr(self, f.name) for f in fields(self)},
        }

    def describe(self, value: Any) -> Any:
        """One raw value as JSON types, in readable form."""
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@dataclass(frozen=True)
class Image(Feature):
    """Column: (rows, channels, height, width), uint8 or float, or a list of such arrays where sizes differ (`shape` is then None).

    value_range: the value of the brightest pixel; black is 0. pixel_names: table columns of flattened images.
    """

    kind: ClassVar[str] = "image"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.images.ImageEncoder"
    estimator_encoder: ClassVar[str | None] = "mlrun.data.preprocess.arrays.RawEncoder"
    shape: list[int] | None = None
    value_range: float = 255
    pixel_names: list[str] = field(default_factory=list)

    def columns(self, name: str) -> list[tuple[str, str]]:
        if self.pixel_names and self.shape is not None:
            return [(pixel, NUMBER) for pixel in self.pixel_names]
        return [(name, PATH)]


@dataclass(frozen=True)
class Photo(Image):
    """An image in which places matter: the whole image is read, whatever its size, and predictions are in its own pixels.

    Column: (rows, channels, height, width) uint8 where all have the same size, a list of such arrays, or `ImageFiles`. `shape` stays None.

    channels: 3, or 1 for grey images.
    """

    encoder: ClassVar[str | None] = "mlrun.data.preprocess.photos.PhotoEncoder"
    channels: int = 3


@dataclass(frozen=True)
class Vector(Feature):
    """Column: (rows, size) numbers, each component with a name."""

    kind: ClassVar[str] = "vector"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.arrays.ArrayEncoder"
    estimator_encoder: ClassVar[str | None] = "mlrun.data.preprocess.arrays.RawEncoder"
    names: list[str]

    @property
    def shape(self) -> list[int]:
        return [len(self.names)]

    def columns(self, name: str) -> list[tuple[str, str]]:
        return [(component, NUMBER) for component in self.names]


@dataclass(frozen=True)
class Volume(Feature):
    """Column: (rows, channels, depth, height, width) numbers."""

    kind: ClassVar[str] = "volume"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.arrays.VolumeEncoder"
    estimator_encoder: ClassVar[str | None] = "mlrun.data.preprocess.arrays.RawEncoder"
    shape: list[int]
    names: list[str] = field(default_factory=list)
    value_range: float = 255

    def columns(self, name: str) -> list[tuple[str, str]]:
        return [(value, NUMBER) for value in self.names or _numbered(self.shape)]


@dataclass(frozen=True)
class Series(Feature):
    """Column: (rows, channels, time) numbers, equally spaced."""

    kind: ClassVar[str] = "series"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.arrays.SeriesEncoder"
    estimator_encoder: ClassVar[str | None] = "mlrun.data.preprocess.arrays.RawEncoder"
    shape: list[int]
    names: list[str] = field(default_factory=list)

    def columns(self, name: str) -> list[tuple[str, str]]:
        return [(value, NUMBER) for value in self.names or _numbered(self.shape)]


@dataclass(frozen=True)
class Row(Feature):
    """One row of a table whose columns differ in type. Column: a DataFrame as `readers.columns.as_columns` makes it.

    Args:
        kinds: (name, NUMBER | BOOLEAN | DATE | CATEGORY) of each column, in order.
        encoding, separator: how the text file was read.
        decimal: the decimal mark of the number columns that are not in `formats`.
        formats: column -> how its texts are written, see `readers.cells`, where that is not plain.
    """

    kind: ClassVar[str] = "row"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.table_rows.RowEncoder"
    estimator_encoder: ClassVar[str | None] = "mlrun.data.preprocess.table_rows.UnscaledRowEncoder"
    kinds: list[list[str]]
    encoding: str = "utf-8"
    separator: str | None = None
    decimal: str = "."
    formats: dict[str, dict[str, str]] | None = None

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.kinds]

    @property
    def written(self) -> dict[str, dict[str, str]]:
        """`formats`, and the decimal mark of the other columns of numbers where it is not a point."""
        formats = self.formats or {}
        if self.decimal == ".":
            return formats
        return {name: {"decimal": self.decimal} for name, kind in self.kinds if kind == NUMBER} | formats

    def columns(self, name: str) -> list[tuple[str, str]]:
        return [(column, kind) for column, kind in self.kinds]

    def describe(self, value: Any) -> Any:
        return {name: self._described(one, kind) for (name, kind), one in zip(self.kinds, value.tolist())}

    @staticmethod
    def _described(value: Any, kind: str) -> Any:
        if value != value:
            return None
        if kind == BOOLEAN:  # beside blanks, 0.0 and 1.0
            return bool(value)
        return value.isoformat() if hasattr(value, "isoformat") else value


@dataclass(frozen=True)
class Text(Feature):
    """Column: (rows,) str objects. As a target: a list of references per row; any of them is correct, and training uses the first.

    column: name of the table column that held the texts; None: that of the feature. encoding, separator: format of that table, if it was a text
    file; separator None: the most frequent one in the header.
    """

    kind: ClassVar[str] = "text"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.text.TextEncoder"
    estimator_encoder: ClassVar[str | None] = "mlrun.data.preprocess.text_features.TextFeaturesEncoder"
    column: str | None = None
    encoding: str = "utf-8"
    separator: str | None = None

    def columns(self, name: str) -> list[tuple[str, str]]:
        return [(self.column or name, TEXT)]


@dataclass(frozen=True)
class Caption(Text):
    """A text about another feature, such as an image. Column: (rows,) str objects, or a list of captions per row, of which training uses the
    first."""

    encoder: ClassVar[str | None] = "mlrun.data.preprocess.captions.CaptionEncoder"
    estimator_encoder: ClassVar[str | None] = None


@dataclass(frozen=True)
class Questions(Text):
    """One or several questions about another feature, such as an image, each up to its question mark. Column: (rows,) str objects."""

    encoder: ClassVar[str | None] = "mlrun.data.preprocess.visual_questions.QuestionsEncoder"
    estimator_encoder: ClassVar[str | None] = None


@dataclass(frozen=True)
class Answers(Text):
    """The answers to the questions `of` the same row, in their order, separated by semicolons. Column: (rows,) str objects.

    kinds: first words of questions by which results are also reported.
    """

    encoder: ClassVar[str | None] = "mlrun.data.preprocess.visual_questions.AnswersEncoder"
    estimator_encoder: ClassVar[str | None] = None
    of: str = "question"
    kinds: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tokens(Feature):
    """A text already divided into words. Column: a list of lists of str."""

    kind: ClassVar[str] = "tokens"


@dataclass(frozen=True)
class Label(Feature):
    """One of several classes. Column: (rows,) int64 indices into `classes`.

    classes: the original values in the order of the indices. names: their text.
    """

    kind: ClassVar[str] = "label"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.targets.LabelEncoder"
    evaluators: ClassVar[tuple[str, ...]] = ("classification",)
    classes: list[Any]
    names: list[str] = field(default_factory=list)
    column: str = "target"

    def __post_init__(self) -> None:
        if not self.names:
            object.__setattr__(self, "names", [str(one) for one in self.classes])

    def positive(self, column: Any) -> int:
        """The positive one of two classes: of texts the rarer one in a column, of numbers and booleans the second."""
        are_texts = all(isinstance(one, str) for one in self.classes)
        return 1 - int(np.bincount(column, minlength=2).argmax()) if are_texts and len(column) else 1

    def describe(self, value: Any) -> Any:
        return self.names[int(value)]

    def renumbered(self, column: Any, places: np.ndarray, count: int) -> np.ndarray:
        """The column for a model of `count` classes, among which `places` are those of this feature."""
        return places[column]


@dataclass(frozen=True)
class Labels(Feature):
    """Any number of several classes. Column: (rows, classes) bool."""

    kind: ClassVar[str] = "labels"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.targets.LabelsEncoder"
    evaluators: ClassVar[tuple[str, ...]] = ("multi_label",)
    classes: list[str]

    def describe(self, value: Any) -> list[str]:
        return [name for name, there in zip(self.classes, value) if there]

    def renumbered(self, column: Any, places: np.ndarray, count: int) -> np.ndarray:
        """See `Label.renumbered`."""
        made = np.zeros((len(column), count), dtype=bool)
        made[:, places] = column
        return made


@dataclass(frozen=True)
class Value(Feature):
    """One number. Column: (rows,) float64 in `unit`.

    written: how the texts of the column write it, see `readers.cells`; None: as a plain number.
    """

    kind: ClassVar[str] = "value"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.targets.ValueEncoder"
    evaluators: ClassVar[tuple[str, ...]] = ("regression",)
    column: str = "target"
    unit: str | None = None
    written: dict[str, str] | None = None

    def describe(self, value: Any) -> float:
        return float(value)


@dataclass(frozen=True)
class Values(Feature):
    """Several numbers. Column: (rows, values) float64, each with the name of its column.

    formats: column -> how its texts write it, where that is not plain, see `readers.cells`.
    """

    kind: ClassVar[str] = "values"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.targets.ValuesEncoder"
    evaluators: ClassVar[tuple[str, ...]] = ("several_values",)
    names: list[str]
    formats: dict[str, dict[str, str]] | None = None

    def describe(self, value: Any) -> dict[str, float]:
        return {name: float(one) for name, one in zip(self.names, value)}


@dataclass(frozen=True)
class Boxes(Feature):
    """Objects in an image. Column: a list of dicts with `boxes` (objects, 4) float32, left, top, right and bottom in pixels of the image,
    and `labels` (objects,) int64 indices into `classes`.

    Optionally `ignored_boxes` and `ignored_labels` of the same form: crowds, and objects that are too difficult. They are no targets, and a predicted
    box there is no mistake."""

    kind: ClassVar[str] = "boxes"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.boxes.BoxesEncoder"
    classes: list[str]

    def describe(self, value: Any) -> list[dict[str, Any]]:
        return [
            {"label": self.classes[int(label)], "box": [round(float(side), 2) for side in box]}
            for box, label in zip(value["boxes"], value["labels"])
        ]


@dataclass(frozen=True)
class Mask(Feature):
    """The class of every pixel of an image. Column: (rows, height, width) integers, indices into `classes`, or a list of such arrays where sizes
    differ; `void` marks pixels that are ignored."""

    kind: ClassVar[str] = "mask"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.masks.MaskEncoder"
    classes: list[str]
    void: int | None = None

    def describe(self, value: Any) -> dict[str, int]:
        """Pixels of each class."""
        flat = np.ravel(value)
        counts = np.bincount(flat[flat != self.void].astype(np.int64), minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts) if count}


@dataclass(frozen=True)
class Points(Feature):
    """Named points in an image. Column: (rows, points, 2) float32, x and y in pixels of the image; NaN where a point is not visible.

    mirrored: for each point the index of the one that takes its place in a mirror image, such as the right eye for the left one; None: itself.
    """

    kind: ClassVar[str] = "points"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.points.PointsEncoder"
    names: list[str]
    mirrored: list[int] | None = None

    def describe(self, value: Any) -> dict[str, list[float]]:
        return {name: [float(x), float(y)] for name, (x, y) in zip(self.names, value)}


@dataclass(frozen=True)
class Tags(Feature):
    """The class of every word of a text, words being what white space separates. Column: a list of int64 arrays (words,), indices into `classes`."""

    kind: ClassVar[str] = "tags"
    evaluators: ClassVar[tuple[str, ...]] = ("tagging",)
    classes: list[str]

    def describe(self, value: Any) -> list[str]:
        return [self.classes[int(tag)] for tag in value]

    def renumbered(self, column: Any, places: np.ndarray, count: int) -> list[np.ndarray]:
        """See `Label.renumbered`."""
        return [places[tags] for tags in column]


@dataclass(frozen=True)
class Span(Feature):
    """A part of the text `of`. Column: (rows, 2) int64, the first character and the one after the last; -1, -1 if there is none."""

    kind: ClassVar[str] = "span"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.text.SpanEncoder"
    of: str = "text"

    def describe(self, value: Any) -> list[int] | None:
        return None if value[0] < 0 else [int(value[0]), int(value[1])]


@dataclass(frozen=True)
class Relevant(Feature):
    """The documents that answer a query. Column: a list of int64 arrays (documents,), indices into the documents of the dataset."""

    kind: ClassVar[str] = "relevant"
    evaluators: ClassVar[tuple[str, ...]] = ("ranking",)


@dataclass(frozen=True)
class Observation(Feature):
    """An observation of an environment. Column: (rows, *shape) numbers or, with `num_states`, (rows,) state indices from 0 (`shape` is then
    empty)."""

    kind: ClassVar[str] = "observation"
    encoder: ClassVar[str | None] = "mlrun.data.preprocess.table_rows.ObservationEncoder"
    shape: list[int]
    num_states: int | None = None

    def columns(self, name: str) -> list[tuple[str, str]]:
        if self.num_states is not None:
            return [("state", NUMBER)]
        return [(f"{name}_{place}", NUMBER) for place in range(self.shape[0])] if len(self.shape) == 1 else []


def shape_of(feature: Feature) -> list[int]:
    """The shape of one value of an array feature. Raises TypeError for a kind without a fixed shape."""
    shape = getattr(feature, "shape", None)
    if shape is None:
        raise TypeError(f"a feature of kind {feature.kind} has no fixed shape")
    return shape


def restore(state: Mapping[str, Any]) -> Feature:
    """The feature with this `state`."""
    module, _, name = state["_target_"].rpartition(".")
    return getattr(import_module(module), name)(**{key: value for key, value in state.items() if key != "_target_"})


def restore_all(states: Mapping[str, Mapping[str, Any]]) -> dict[str, Feature]:
    """Name -> feature, from name -> `state`."""
    return {name: restore(state) for name, state in states.items()}


def _numbered(shape: Sequence[int]) -> list[str]:
    return [f"x{place}" for place in range(int(np.prod(shape)))]
