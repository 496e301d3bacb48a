"""Classified time series: files of the UCR archive, and a generated set."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.features import Label, Series
from mlrun.data.readers.columns import LARGEST
from mlrun.data.row_data import ArrayData, Content
from mlrun.errors import DataError


class CylinderBellFunnel(ArrayData):
    """Three classes of noisy series of length 128: a plateau, a rise that breaks off, a jump that decays.

    Saito 1994, "Local feature extraction and its applications using a library of bases"; one of the UCR archive.
    With a, b drawn: (6 + n) times 1, (t - a) / (b - a) or (b - t) / (b - a) for a <= t <= b, plus noise N(0, 1) everywhere;
    a uniform in 16..32, b - a in 32..96, n ~ N(0, 1).

    Args:
        problem, name, seed, options: see `ArrayData`.
        rows: number of series.
        length: time steps of a series.
        data_seed: seed of the generator.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 900,
        length: int = 128,
        data_seed: int = 0,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if problem != "classification":
            raise DataError(f"dataset.problem={problem}: {name} is a classification set")
        self.count, self.length, self.data_seed = rows, length, data_seed

    def read(self) -> Content:
        rng = np.random.default_rng(self.data_seed)
        y = rng.permutation(np.arange(self.count) % 3)
        scale = self.length / 128
        start = (rng.integers(16, 33, self.count) * scale)[:, None]
        end = start + (rng.integers(32, 97, self.count) * scale)[:, None]
        t = np.arange(1, self.length + 1)[None, :]
        height = 6 + rng.standard_normal((self.count, 1))
        shape = np.choose(y[:, None], [np.ones_like(t - start), (t - start) / (end - start), (end - t) / (end - start)])
        x = height * shape * ((start <= t) & (t <= end)) + rng.standard_normal((self.count, self.length))
        times = [f"time_{at}" for at in range(self.length)]
        label = Label([0, 1, 2], ["cylinder", "bell", "funnel"])
        return Content(
            {"series": x[:, None].astype(np.float32), "label": y.astype(np.int64)},
            {"series": Series([1, self.length], times), "label": label},
            "generated",
        )


class SeriesFile(ArrayData):
    """Series from files, all of the same length. Missing values (NaN or ?) become the mean of their series.

    A .ts file has the format of timeseriesclassification.com: channels separated by colons, the class last. Other files have that of
    the UCR archive: one series per line, the class first, separated by tabs, commas or blanks.

    Args:
        path: `X_TRAIN.ts`, `.tsv`, `.csv` or `.txt`; `X_TEST` in the same folder is the test part.
        problem, name, seed, options: see `ArrayData`.
    """

    def __init__(self, path: str | Path, problem: str, name: str, seed: int, **options: Any):
        super().__init__(problem, name, seed, **options)
        if problem != "classification":
            raise DataError(f"dataset.problem={problem}: {name} is for classification")
        self.path = Path(path).expanduser()

    def read(self) -> Content:
        train = read_series(self.path)
        stem = self.path.name
        test_path = self.path.with_name(stem.replace("_TRAIN", "_TEST")) if "_TRAIN" in stem else None
        test = read_series(test_path) if test_path is not None and test_path.is_file() else None
        x, classes = train
        if test is not None:
            if train[0].shape[1:] != test[0].shape[1:]:
                raise DataError(
                    f"{test_path}: series of {test[0].shape[1:]} (channels, time), but {stem} has {train[0].shape[1:]}"
                )
            x, classes = (np.concatenate(both) for both in zip(train, test))
        labels, y = np.unique(classes, return_inverse=True)
        names = [f"channel_{channel}_time_{at}" for channel in range(x.shape[1]) for at in range(x.shape[2])]
        return Content(
            {"series": x, "label": y.astype(np.int64)},
            {"series": Series(list(x.shape[1:]), names), "label": Label(labels.tolist())},
            str(self.path),
            test_rows=None if test is None else len(train[0]),
        )


def read_series(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Series (rows, channels, time) float32 and classes (rows,) as text. Raises DataError with file and line."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    rows: list[list[list[float]]] = []
    labels: list[str] = []
    is_ts = path.suffix == ".ts"
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(("#", "@")):
            continue
        if is_ts:
            *channels, label = line.split(":")
            values = [channel.split(",") for channel in channels]
        else:
            delimiter = next((mark for mark in ("\t", ",") if mark in line), None)
            label, *series = next(csv.reader([line], delimiter=delimiter)) if delimiter else line.split()
            values = [series]
        try:
            row = [[np.nan if v.strip() in ("?", "") else float(v) for v in channel] for channel in values]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if any(abs(value) > LARGEST for channel in row for value in channel):  # as far as float32 reaches
            raise DataError(f"{path}, line {number}: a value is infinite or too large")
        if not row or not row[0] or len({len(channel) for channel in row}) > 1:
            raise DataError(f"{path}, line {number}: no series, or channels of different length")
        if rows and (len(row), len(row[0])) != (len(rows[0]), len(rows[0][0])):
            raise DataError(
                f"{path}, line {number}: {len(row)} channels of {len(row[0])} values, but {len(rows[0])} of {len(rows[0][0])} before; "
                f"truncate or pad the series to one length first"
            )
        rows.append(row)
        labels.append(_class(label))
    if not rows:
        raise DataError(f"{path}: contains no series")
    x = np.asarray(rows, dtype=np.float32)
    missing = np.isnan(x)
    if missing.any():
        mean = np.nan_to_num(np.nanmean(x, axis=2, keepdims=True))
        x = np.where(missing, mean, x)
    return x, np.asarray(labels)


def _class(label: str) -> str:
    """Some files write class 1 as "1.0000000e+00"."""
    label = label.strip()
    try:
        value = float(label)
    except ValueError:
        return label
    return str(int(value)) if value.is_integer() else label
