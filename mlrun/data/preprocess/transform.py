"""From raw values to what a network is fed, fitted on the training rows only.

A transform is called with raw x and returns float32; its `state` is a dict of plain containers, and `from_state(state)`
makes it again. For regression `target_mean` and `target_std` are those of the training targets; a network is trained
on (y - mean) / std.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from mlrun.data.readers.columns import CATEGORY, NUMBER, as_columns
from mlrun.errors import DataError

NORMALIZATIONS = ("standardize", "unit", "symmetric", "none")


class Scaling:
    """(x - shift) / scale, per feature of a table or per channel of an image.

    kind: "standardize" (train mean and standard deviation), "unit" (to [0, 1]: an image by the range of its format, as
    torchvision's ToTensor does; a feature by its train minimum and maximum), "symmetric" (the same to [-1, 1]), "none".
    shape: of one row as a network wants it, [features] or [channels, height, width]; flattened rows are accepted too.
    """

    def __init__(self, shape, shift, scale, target_mean=0.0, target_std=1.0):
        self.shape = [int(size) for size in shape]
        self.shift, self.scale = np.asarray(shift, dtype=np.float64), np.asarray(scale, dtype=np.float64)
        self.target_mean, self.target_std = float(target_mean), float(target_std)

    @classmethod
    def fit(cls, x, kind, value_range=255, target_mean=0.0, target_std=1.0):
        """x: (rows, features) or (rows, channels, height, width). value_range: the largest value of a pixel."""
        kind = check_kind(kind)
        groups = x.shape[1]  # features or channels
        if kind == "none":
            shift, scale = np.zeros(groups), np.ones(groups)
        elif kind in ("unit", "symmetric"):
            shift = np.zeros(groups) if x.ndim == 4 else x.min(axis=0).astype(np.float64)
            scale = np.full(groups, float(value_range)) if x.ndim == 4 else x.max(axis=0) - shift
            if kind == "symmetric":
                shift, scale = shift + scale / 2, scale / 2
        else:
            shift, scale = channel_moments(x) if x.ndim == 4 else (x.mean(axis=0), x.std(axis=0))
        return cls(x.shape[1:], shift, nonzero(scale), target_mean, target_std)

    def __call__(self, x):
        """(rows, ...) numbers -> (rows, *shape) float32."""
        x = np.asarray(x)
        x = x.reshape(len(x), *self.shape)
        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        if x.dtype == np.uint8:  # exact in float32, which halves the memory
            x = x.astype(np.float32)
            x -= self.shift.astype(np.float32).reshape(per_channel)
            x /= self.scale.astype(np.float32).reshape(per_channel)
            return x
        return ((x - self.shift.reshape(per_channel)) / self.scale.reshape(per_channel)).astype(np.float32)

    def restore(self, x):
        """What a network made, (rows, *shape) float -> values as in the data."""
        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        return np.asarray(x, dtype=np.float64) * self.scale.reshape(per_channel) + self.shift.reshape(per_channel)

    def on_device(self, device):
        """The same as a function of a batch of torch numbers, for data that stay as bytes until they are used."""
        import torch

        per_channel = (-1,) + (1,) * (len(self.shape) - 1)
        shift = torch.tensor(self.shift, dtype=torch.float32, device=device).view(per_channel)
        scale = torch.tensor(self.scale, dtype=torch.float32, device=device).view(per_channel)
        if not self.shift.any():
            return lambda x: x.float().div_(scale)
        return lambda x: x.float().sub_(shift).div_(scale)

    @property
    def state(self):
        return {
            "kind": "scaling",
            "shape": self.shape,
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
            "target_mean": self.target_mean,
            "target_std": self.target_std,
        }


class ImageScaling(Scaling):
    """Scaling per channel, then images resized to `image_size` [height, width] if given: bilinear, smoothed when shrinking.

    value_range: the largest value of a pixel.
    """

    def __init__(self, shape, shift, scale, target_mean=0.0, target_std=1.0, image_size=None, value_range=255.0):
        super().__init__(shape, shift, scale, target_mean, target_std)
        self.value_range = float(value_range)
        self.image_size = None if image_size is None else [int(side) for side in image_size]

    def __call__(self, x):
        scaled = super().__call__(x)
        if self.image_size is None:
            return scaled
        import torch

        return resize(torch.from_numpy(scaled), self.image_size).numpy()

    def on_device(self, device):
        scaling = super().on_device(device)
        return scaling if self.image_size is None else lambda x: resize(scaling(x), self.image_size)

    def pixels(self, x):
        """What a network made, (rows, channels, height, width) -> pixels from 0 to 1."""
        return (self.restore(x) / self.value_range).clip(0, 1)

    @property
    def state(self):
        return {**super().state, "kind": "images", "image_size": self.image_size, "value_range": self.value_range}


def resize(x, size):
    """(batch, channels, height, width) float tensor -> (batch, channels, *size): bilinear, smoothed when shrinking.

    On the CPU by two matrix products, up to five times as fast as interpolating images; a GPU could round them to TF32.
    """
    if x.device.type != "cpu":
        return _interpolated(x, size)
    rows, columns = (_interpolation(old, new) for old, new in zip(x.shape[2:], size, strict=True))
    return rows @ (x @ columns.T)


@cache
def _interpolation(old, new):
    """(new, old): what each new pixel of a row takes of the old ones."""
    import torch

    with torch.inference_mode(False):
        return _interpolated(torch.eye(old)[None, None], (new, old))[0, 0]


def _interpolated(x, size):
    from torch.nn import functional as F

    shrinks = any(new < old for new, old in zip(size, x.shape[2:]))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=shrinks)


class ColumnEncoding:
    """A table of named columns as a float matrix: numeric columns imputed by their train median and scaled, then the
    categories of each text column one-hot (missing: the most frequent; unseen: no column set).

    numeric: column names. categorical: name -> sorted list of train categories. medians, shift, scale: one per numeric
    column. frequent: name -> most frequent category.
    """

    def __init__(self, numeric, categorical, medians, shift, scale, frequent, target_mean=0.0, target_std=1.0):
        self.numeric, self.categorical, self.frequent = list(numeric), dict(categorical), dict(frequent)
        self.medians, self.shift, self.scale = (
            np.asarray(values, dtype=np.float64) for values in (medians, shift, scale)
        )
        self.target_mean, self.target_std = float(target_mean), float(target_std)
        self.shape = [len(self.numeric) + sum(map(len, self.categorical.values()))]

    @classmethod
    def fit(cls, frame, numeric, categorical, kind, target_mean=0.0, target_std=1.0):
        kind = check_kind(kind)
        x = frame[numeric].to_numpy(dtype=np.float64, na_value=np.nan)
        medians = column_medians(x)
        x = np.where(np.isnan(x), medians, x)
        if kind == "none" or not len(x):
            shift, scale = np.zeros(len(numeric)), np.ones(len(numeric))
        elif kind == "unit":
            shift, scale = x.min(axis=0), x.max(axis=0) - x.min(axis=0)
        else:
            shift, scale = x.mean(axis=0), x.std(axis=0)
        counts = {column: frame[column].value_counts() for column in categorical}
        return cls(
            numeric,
            {column: sorted(count.index.tolist()) for column, count in counts.items()},
            medians,
            shift,
            nonzero(scale),
            {column: min(count.index[count == count.max()].tolist(), default="") for column, count in counts.items()},
            target_mean,
            target_std,
        )

    def __call__(self, frame):
        """DataFrame with the columns of the training data, any order -> (rows, columns) float32. Raises DataError."""
        import pandas as pd

        kinds = [(name, NUMBER) for name in self.numeric] + [(name, CATEGORY) for name in self.categorical]
        frame = as_columns(frame, kinds)
        result = np.zeros((len(frame), *self.shape), dtype=np.float32)
        x = frame[self.numeric].to_numpy(dtype=np.float64)
        result[:, : len(self.numeric)] = (np.where(np.isnan(x), self.medians, x) - self.shift) / self.scale
        start = len(self.numeric)
        for column, categories in self.categorical.items():
            values = frame[column].where(frame[column].notna(), self.frequent[column]).to_numpy(dtype=object)
            codes = pd.Index(categories, dtype=object).get_indexer(values)
            seen = np.flatnonzero(codes >= 0)
            result[seen, start + codes[seen]] = 1.0
            start += len(categories)
        return result

    @property
    def state(self):
        return {
            "kind": "columns",
            "numeric": self.numeric,
            "categorical": self.categorical,
            "frequent": self.frequent,
            "medians": self.medians.tolist(),
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
            "target_mean": self.target_mean,
            "target_std": self.target_std,
        }


def from_state(state):
    """The transform whose `state` this is."""
    arguments = {key: value for key, value in state.items() if key != "kind"}
    if state["kind"] == "observations":
        from mlrun.data.environments.environment import Observations

        return Observations(**arguments)
    if state["kind"] == "pairs":
        from mlrun.data.datasets.pairs import PairEncoding

        return PairEncoding(**arguments)
    if state["kind"] == "text":
        from mlrun.data.preprocess.text import TextEncoding

        return TextEncoding(**arguments)
    return {"scaling": Scaling, "images": ImageScaling, "columns": ColumnEncoding}[state["kind"]](**arguments)


def check_kind(kind):
    kind = "none" if kind is None else kind
    if kind not in NORMALIZATIONS:
        raise DataError(f"dataset.normalize={kind}: choose one of {', '.join(NORMALIZATIONS)}")
    return kind


def nonzero(scale):
    """A constant feature is only shifted."""
    return np.where(np.asarray(scale) > 0, scale, 1.0)


def channel_moments(x):
    """Mean and standard deviation per channel of (rows, channels, height, width), without a float copy of the whole."""
    total, square = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    step = max(1, 2**20 // int(np.prod(x.shape[1:])))
    for start in range(0, len(x), step):
        part = x[start : start + step].astype(np.float64)
        total += part.sum(axis=(0, 2, 3))
        square += np.einsum("nchw,nchw->c", part, part)
    count = x.size / x.shape[1]
    mean = total / count
    return mean, np.sqrt(np.maximum(square / count - mean**2, 0))


def column_medians(x):
    """Median of each column without its NaN; 0 where there is no value (as SimpleImputer's keep_empty_features)."""
    if not len(x):
        return np.zeros(x.shape[1])
    ordered = np.sort(x, axis=0)  # NaN come last
    count = np.count_nonzero(~np.isnan(x), axis=0)
    columns = np.arange(x.shape[1])
    low, high = ordered[np.maximum(count - 1, 0) // 2, columns], ordered[np.minimum(count // 2, len(x) - 1), columns]
    return np.where(count > 0, low + (high - low) / 2, 0.0)
