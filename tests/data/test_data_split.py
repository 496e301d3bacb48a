"""Splitting: sizes, proportions of classes, seeds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mlrun.data.splits import part_sizes, split_rows
from mlrun.errors import DataError


@pytest.mark.parametrize(
    "split, count, expected",
    [
        ({"train": 0.6, "val": 0.2, "test": 0.2}, 10, (6, 2, 2)),
        ({"train": 0.6, "val": 0.2, "test": 0.2}, 1797, (1079, 359, 359)),
        ({"train": 60, "val": 20, "test": 20}, 1000, (600, 200, 200)),
        ({"train": 98, "val": 1, "test": 1}, 1000, (980, 10, 10)),
        ({"train": 100, "val": 0}, 1000, (100, 0)),
        ({"test": 100}, 1000, (100,)),
        ({"train": 120, "val": 20, "test": 10}, 150, (120, 20, 10)),
        ({"train": 100, "val": 20, "test": 10}, 150, (100, 20, 10)),
        ({"train": None, "val": 20, "test": 0.1}, 150, (115, 20, 15)),
        ({"train": 1.0, "val": 0, "test": 0}, 150, (150, 0, 0)),
        ({"train": 0.5, "val": 0.1, "test": 0.1}, 100, (50, 10, 10)),
    ],
)
def test_sizes(split, count, expected):
    assert tuple(part_sizes(split, count).values()) == expected


@pytest.mark.parametrize(
    "split, count, message",
    [
        ({"train": 0.8, "val": 0.3, "test": 0.2}, 100, "add up to 1.3"),
        ({"train": 90, "val": 9, "test": 9}, 100, "100 rows, too few"),
        ({"train": 0.6, "val": 0.2, "test": 0.2}, 1, "1 row cannot be split"),
        ({"train": -1, "val": 0.2}, 100, "split.train=-1"),
        ({"train": 1.5, "val": 0.2}, 100, "is whole"),
        ({"train": None, "val": None}, 100, "only one part"),
    ],
)
def test_sizes_that_cannot_be(split, count, message):
    with pytest.raises(DataError, match=message):
        part_sizes(split, count)


def test_parts_are_disjoint_and_complete_and_the_seed_decides():
    y = np.random.default_rng(0).integers(0, 3, 200)
    sizes = {"train": 120, "val": 40, "test": 40}
    for classes in (y, None):
        parts = split_rows(np.arange(200), sizes, 7, classes)
        assert {part: len(rows) for part, rows in parts.items()} == sizes
        assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
        again, other = split_rows(np.arange(200), sizes, 7, classes), split_rows(np.arange(200), sizes, 8, classes)
        assert all((parts[part] == again[part]).all() for part in parts)
        assert not (parts["test"] == other["test"]).all()


def test_each_part_has_the_proportions_of_the_whole():
    y = np.repeat([0, 1, 2, 3], [500, 300, 193, 7])
    parts = split_rows(np.arange(1000), {"train": 600, "val": 200, "test": 200}, 1, y)
    for part, rows in parts.items():
        expected = np.array([500, 300, 193, 7]) * len(rows) / 1000
        assert np.abs(np.bincount(y[rows], minlength=4) - expected).max() <= 1, part
        assert (np.bincount(y[rows], minlength=4) > 0).all()


def test_a_split_by_class_of_rare_classes():
    y = np.repeat([0, 1], [50, 3])
    assert [
        np.bincount(y[rows], minlength=2)[1]
        for rows in split_rows(np.arange(53), {"train": 33, "val": 10, "test": 10}, 1, y).values()
    ] == [1, 1, 1]
    with pytest.raises(DataError, match="class 1 has 2 rows.*needs 3 of each"):
        split_rows(np.arange(52), {"train": 32, "val": 10, "test": 10}, 1, np.repeat([0, 1], [50, 2]))
    with pytest.raises(DataError, match="fewer than the 4 classes"):
        split_rows(np.arange(40), {"train": 3, "val": 30}, 1, np.repeat(range(4), 10))
    many = np.repeat(range(30), 10)  # a validation part smaller than the number of classes is allowed
    assert len(np.unique(many[split_rows(np.arange(300), {"train": 290, "val": 10}, 1, many)["train"]])) == 30


def test_the_order_is_shuffled():
    rows = split_rows(np.arange(100), {"train": 60, "val": 40}, 1, np.repeat([0, 1], 50))["train"]
    assert (np.diff(rows) < 0).any() and 5 < (np.repeat([0, 1], 50)[rows][:30] == 0).sum() < 25
