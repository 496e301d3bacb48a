"""Raw inputs of a stored model: arrays, tables, lists or JSON records in the form of the training data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import CATEGORY, NUMBER, PATH, TEXT, Feature, Image, Label, Photo, Row, Text, Vector, shape_of
from mlrun.data.preprocess.text import as_texts
from mlrun.data.readers.columns import LARGEST, as_columns
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

DATA, LONGEST_PATH = "data:image/png;base64,", 4096  # beginning of an image as text; characters of a path, at most


def as_examples(given: Any, features: Mapping[str, Feature]) -> Examples:
    """Converts the input of a service to examples.

    A model with one input takes an array, a list or a table of it; a model with several takes a table with all their columns.

    Args:
        given: the raw input.
        features: the model's inputs.

    Raises:
        DataError: the input does not fit the features, or holds a number that no model can read.
    """
    if isinstance(given, Examples):
        return given
    if len(features) == 1:
        ((name, feature),) = features.items()
        found = Examples({name: _single(given, name, feature)}, features)
    elif hasattr(given, "columns"):
        found = from_table(given, features)
    else:
        raise DataError(f"this model reads {', '.join(features)}: give a table with their columns")
    if len(found):
        _check_numbers(found)
    return found


def _check_numbers(examples: Examples) -> None:
    """Raises DataError for infinite numbers and those beyond the range of float32, and in arrays for missing ones: a network would answer
    with the first class."""
    for name, feature in examples.features.items():
        column, names = examples.columns[name], [one for one, kind in feature.columns(name) if kind == NUMBER]
        if isinstance(feature, Row):
            numbers = column[names].to_numpy(dtype=np.float64, na_value=np.nan)
            wrong, what = np.abs(numbers) > LARGEST, "infinite or too large"
        elif isinstance(column, np.ndarray) and column.dtype.kind == "f":
            numbers = column.reshape(len(column), -1)
            wrong, what = ~(np.abs(numbers) <= LARGEST), "missing, infinite or too large"
        else:
            continue
        if wrong.any():
            row, at = np.argwhere(wrong)[0]
            place = repr(names[at]) if wrong.shape[1] == len(names) else name
            raise DataError(f"row {row + 1}: {place} is {numbers[row, at]}: {what}")


def from_table(frame: pd.DataFrame, features: Mapping[str, Feature], folder: Path | None = None) -> Examples:
    """Table columns -> examples. folder: base of relative image paths. Raises DataError."""
    return Examples({name: _from_columns(frame, name, feature, folder) for name, feature in features.items()}, features)


def as_input(examples: Examples) -> Any:
    """Examples as the input of a stored model; the inverse of `as_examples`."""
    if len(examples.features) == 1:
        ((name, feature),) = examples.features.items()
        column = examples[name]
        if isinstance(feature, Row):
            return _with_iso_dates(column)
        if isinstance(feature, Photo):
            import pandas as pd

            return pd.DataFrame({name: [as_text(image) for image in column]})
        if isinstance(feature, Text):
            import pandas as pd  # takes 0.3 s, which an array can do without

            return pd.DataFrame({feature.column or name: np.asarray(column, dtype=object)})
        if isinstance(column, list) or hasattr(column, "iloc"):
            return column
        values = np.asarray(column)
        return values.reshape(len(values), -1) if values.ndim > 2 else values
    import pandas as pd

    parts: dict[str, Any] = {}
    for name, feature in examples.features.items():
        column = examples[name]
        if isinstance(feature, Row):
            table = _with_iso_dates(column)
            parts |= {key: table[key].to_numpy() for key in feature.names}
        elif isinstance(feature, Vector):
            parts |= {key: np.asarray(column)[:, at] for at, key in enumerate(feature.names)}
        elif isinstance(feature, Photo):
            parts[name] = [as_text(image) for image in column]
        else:
            key = feature.column if isinstance(feature, Text) and feature.column else name
            parts[key] = [np.asarray(value).tolist() if isinstance(value, np.ndarray) else value for value in column]
    return pd.DataFrame(parts)


def _with_iso_dates(table: pd.DataFrame) -> pd.DataFrame:
    """The table with dates as texts, as a service receives them."""
    dates = [name for name, dtype in table.dtypes.items() if dtype.kind == "M"]
    if not dates:
        return table
    texts = {name: table[name].map(lambda date: date.isoformat(), na_action="ignore").astype(object) for name in dates}
    return table.assign(**texts)


def table_columns(features: Mapping[str, Feature]) -> list[tuple[str, str]] | None:
    """(column, kind) of the tables that a model accepts; None if it takes a numeric array or a single text."""
    if not any(isinstance(feature, Row) for feature in features.values()) and len(features) == 1:
        return None
    return [pair for name, feature in features.items() for pair in feature.columns(name)]


def _single(given: Any, name: str, feature: Feature) -> Any:
    if isinstance(feature, Row):
        return as_columns(_frame(given, feature), feature.columns(name), feature.written)
    if isinstance(feature, Text):
        if hasattr(given, "columns"):  # a table with more columns than the model reads
            own = [one for one in (feature.column, name) if one in given.columns]
            given = given[own[0]] if own else given
        texts = np.empty(len(found := as_texts(given, given=True)), dtype=object)
        texts[:] = found
        return texts
    if hasattr(given, "columns") and list(given.columns) == [name] and given[name].dtype == object:
        given = given[name]
    if isinstance(feature, Photo):
        if hasattr(given, "columns") and name in given.columns:
            given = given[name]
        return _photos(list(given), feature, None)
    if isinstance(feature, Image) and _are_paths(given):
        return _images(list(given), feature, None)
    if isinstance(feature, Vector) and hasattr(given, "columns"):
        given = _named_columns(given, feature.names)
    shape = getattr(feature, "shape", None)
    try:
        values = np.asarray(given.to_numpy() if hasattr(given, "to_numpy") else given)
        if not values.ndim:
            raise DataError(f"give an array, a list or a table of rows, not {type(given).__name__}")
        if values.dtype == object:
            values = np.array([np.asarray(value) for value in values])
        if isinstance(feature, Vector) and values.dtype.kind not in "biuf":
            values = values.astype(np.float64, casting="safe" if values.dtype.kind == "c" else "unsafe")
    except (ValueError, TypeError) as error:  # rows of several lengths, texts
        raise DataError(f"the rows are not numbers: {error}") from None
    if not shape or not len(values):
        return values
    if values.size != len(values) * math.prod(shape):
        row = " x ".join(map(str, values.shape[1:])) or "a single number"
        raise DataError(f"a row is {row}, and this model reads {' x '.join(map(str, shape))}{_listed(feature)}")
    return values.reshape(len(values), *shape)


def _named_columns(given: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The columns of a vector in the order of training; a table that has none of these names is read by position.

    Raises:
        DataError: some of the columns are absent, or there twice.
    """
    there = [name for name in names if name in given.columns]
    if not there:
        return given
    if absent := [name for name in names if name not in there]:
        raise DataError(
            f"the data lack the column{'s' * (len(absent) > 1)} {', '.join(absent[:10])} which the model was trained with"
        )
    _check_unique(given, names)
    return given[names]


def _check_unique(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raises DataError if a table has a column twice."""
    twice = [] if frame.columns.is_unique else [name for name in names if list(frame.columns).count(name) > 1]
    if twice:
        raise DataError(f"the data have the column {twice[0]!r} twice")


def _listed(feature: Feature) -> str:
    names = getattr(feature, "names", None) or []
    return f" ({', '.join(names[:10])}{', …' * (len(names) > 10)})" if names else ""


def _frame(given: Any, feature: Row) -> pd.DataFrame:
    import pandas as pd

    if not hasattr(given, "columns"):
        try:
            given = pd.DataFrame(given, columns=feature.names if _is_matrix(given) else None)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"the rows are no table of {len(feature.names)} columns{_listed(feature)}: {error}"
            ) from None
    _check_unique(given, feature.names)
    return given


def _is_matrix(given: Any) -> bool:
    return isinstance(given, np.ndarray) or (
        isinstance(given, list) and bool(given) and isinstance(given[0], (list, tuple))
    )


def _are_paths(given: Any) -> bool:
    return len(given) > 0 and not hasattr(given, "ndim") and all(isinstance(one, (str, Path)) for one in given)


def _from_columns(frame: pd.DataFrame, name: str, feature: Feature, folder: Path | None) -> Any:
    columns = feature.columns(name)
    _check_unique(frame, [column for column, _ in columns])
    if isinstance(feature, Text) and columns[0][0] not in frame and name in frame:
        columns = [(name, TEXT)]
    absent = [column for column, _ in columns if column not in frame]
    if absent or not columns:
        raise DataError(
            f"the data lack the column{'s' * (len(absent) > 1)} {', '.join(absent[:10]) or name} which the model was trained with"
        )
    kinds = {kind for _, kind in columns}
    if isinstance(feature, Row):
        return as_columns(frame, columns, feature.written)
    if kinds == {PATH}:
        assert isinstance(feature, Image)
        values = list(frame[name])
        if isinstance(feature, Photo):
            return _photos(values, feature, folder)
        if values and not isinstance(values[0], (str, Path)):
            pixels = np.array([np.asarray(value) for value in values]).reshape(len(values), *shape_of(feature))
            as_bytes = pixels.dtype.kind in "iu" and feature.value_range == 255
            return pixels.astype(np.uint8) if as_bytes else pixels  # as in the files: float32 holds bytes exactly
        return _images(values, feature, folder)
    if kinds <= {NUMBER, CATEGORY}:
        numbers = as_columns(frame, [(column, NUMBER) for column, _ in columns]).to_numpy(dtype=np.float64)
        return numbers.reshape(len(numbers), *shape_of(feature))
    texts = np.empty(len(frame), dtype=object)
    texts[:] = as_texts(frame[columns[0][0]], given=True)
    return texts


def _images(paths: list[Any], feature: Image, folder: Path | None) -> np.ndarray:
    """(rows, channels, height, width) in the value range of the feature. Raises DataError naming an unreadable file."""
    from mlrun.data.readers.images import read_image

    channels, height, width = shape_of(feature)
    files = [Path(path) if folder is None else folder / path for path in paths]
    pixels = np.zeros((len(files), channels, height, width), np.uint8)
    for row, file in enumerate(files):
        pixels[row] = read_image(file, (height, width), grey=channels == 1)
    return pixels if feature.value_range == 255 else pixels * (feature.value_range / 255)


def _photos(values: list[Any], feature: Photo, folder: Path | None) -> list[np.ndarray]:
    return [read_photo(value, feature, folder) for value in values]


def read_photo(value: Any, feature: Photo, folder: Path | None = None) -> np.ndarray:
    """An image (channels, height, width) uint8 from a path, from a text as `as_text` makes it, or from an array.

    Args:
        value: what is given for the image.
        feature: the model's input.
        folder: base of relative paths.

    Raises:
        DataError: it is not an image, or has the wrong number of channels.
    """
    from mlrun.data.readers.images import as_pixels, read_whole, upright

    grey = feature.channels == 1
    if isinstance(value, str) and (value.startswith("data:") or len(value) > LONGEST_PATH):
        return as_pixels(upright(_decoded(value)), grey)
    if isinstance(value, (str, Path)) and str(value):
        return read_whole(value if folder is None else folder / value, grey)
    pixels = np.asarray(value)
    if not pixels.ndim:
        raise DataError(f"no image: {value!r}; give a path, an array, or a text that begins with {DATA}")
    if pixels.ndim != 3 or pixels.shape[0] != feature.channels:
        raise DataError(f"an image of shape {pixels.shape}; this model takes ({feature.channels}, height, width)")
    return pixels.clip(0, 255).astype(np.uint8)


def as_text(image: np.ndarray) -> str:
    """An image (channels, height, width) uint8 as the text of a PNG file in base64, for services."""
    import base64
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, "PNG")
    return DATA + base64.b64encode(buffer.getvalue()).decode()


def _decoded(text: str) -> Any:
    """The PIL image of a base64 text with or without its head. Raises DataError."""
    import base64
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)))
        opened.load()
        return opened
    except (ValueError, OSError, UnidentifiedImageError) as error:
        raise DataError(f"a text that is not a base64 image ({error}): {text[:40]}...") from None


def same_form(own: Mapping[str, Feature], other: Mapping[str, Feature]) -> bool:
    """Whether a model trained on the features `own` accepts data with the features `other`: the same names, kinds and shapes."""
    if own.keys() != other.keys():
        return False
    return all(
        type(own[name]) is type(other[name])
        and (isinstance(own[name], Label) or getattr(own[name], "shape", None) == getattr(other[name], "shape", None))
        for name in own
    )
