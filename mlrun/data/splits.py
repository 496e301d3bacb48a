"""Splits of rows into train, val and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.errors import DataError

PARTS = ("train", "val", "test")
TRAIN_DEV = "train_dev"  # optional part: rows of the training distribution that are held out
ORDER = ("train", TRAIN_DEV, "val", "test")


def split_rows(
    rows: np.ndarray,
    sizes: Mapping[str, int],
    seed: int,
    classes: np.ndarray | None = None,
    name: str = "data",
) -> dict[str, np.ndarray]:
    """Splits `rows` at random into disjoint parts of the given sizes, stratified if `classes` is given.

    The algorithm: permute the rows with NumPy's PCG64 generator seeded with `seed`. Without classes, cut the
    permutation into test, val, train, in this order. With classes, each class is the subsequence of the permutation
    with that label; each part takes from the front of every class a number in proportion to what is left of it (largest
    remainder, ties to the lower class index, at least one where the part is not smaller than the number of classes);
    a part's rows keep the order of the permutation. The same rows, labels, sizes and seed give the same parts on every machine.

    Args:
        rows: (n,) original row numbers.
        sizes: part -> number of rows, see `part_sizes`.
        seed: of the permutation.
        classes: (n,) integers, or None.
        name: of the data, for messages.

    Returns:
        Part -> (size,) int64, for each part in `sizes`.

    Raises:
        DataError: a class is too small.
    """
    rows = np.asarray(rows, dtype=np.int64)
    order = np.random.default_rng(seed % 2**63).permutation(len(rows))
    wanted = [part for part in reversed(ORDER) if part in sizes]
    if classes is None:
        ends = np.cumsum([sizes[part] for part in wanted])
        return {part: rows[order[end - sizes[part] : end]] for part, end in zip(wanted, ends)}

    shuffled = np.asarray(classes)[order]
    count = int(shuffled.max()) + 1 if len(shuffled) else 0
    by_class = np.argsort(shuffled, kind="stable")  # places in `order`, grouped by class
    total = np.bincount(shuffled, minlength=count)
    first = np.cumsum(total) - total
    taken = np.zeros(count, dtype=np.int64)
    filled = [part for part in wanted if sizes[part] > 0]
    _check_classes(total, filled, sizes, name)
    result = {part: rows[:0] for part in wanted}
    for place, part in enumerate(filled):
        left = total - taken
        later = sum(sizes[other] >= count for other in filled[place + 1 :])
        least = np.minimum(left, 1 if sizes[part] >= count else 0)
        most = np.maximum(left - later, least) if part != filled[-1] else left
        number = _apportion(sizes[part], left, least, most)
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        places = by_class[np.repeat(first + taken, number) + within]
        result[part] = rows[order[np.sort(places)]]
        taken += number
    return result


def split_classes(rows: np.ndarray, sizes: Mapping[str, int], seed: int, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Splits whole classes at random into disjoint parts, so that no class has rows in two parts.

    NumPy's PCG64 generator seeded with `seed` permutes the classes, which are cut into test, val, train, in this order, and then the rows;
    a part's rows keep the order of that permutation.

    Args:
        rows: (n,) original row numbers.
        sizes: part -> number of classes, see `part_sizes`.
        seed: of the permutations.
        classes: (n,) integers.

    Returns:
        Part -> (size,) int64, for each part in `sizes`.
    """
    random = np.random.default_rng(seed % 2**63)
    rows, classes = np.asarray(rows, dtype=np.int64), np.asarray(classes)
    shuffled = random.permutation(np.unique(classes))
    order = random.permutation(len(rows))
    result, start = {}, 0
    for part in reversed(ORDER):
        if part in sizes:
            own = shuffled[start : start + sizes[part]]
            result[part] = rows[order[np.isin(classes[order], own)]]
            start += sizes[part]
    return {part: result[part] for part in sizes}


def split_groups(groups: np.ndarray, sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    """Splits rows at random so that no group is divided: whole groups fill test, then val, then train.

    A part is cut to its size; the remaining rows of its last group are not used.

    Args:
        groups: (n,) integers, the group of each row.
        sizes: part -> number of rows, see `part_sizes`.
        seed: of the order of the groups.

    Returns:
        Part -> at most that many row numbers, ascending; train in random order where it is cut.
    """
    random = np.random.default_rng(seed % 2**63)
    rank = random.permutation(int(groups.max()) + 1)[groups]
    order = np.argsort(rank, kind="stable")  # rows, group by group
    bounds = np.append(0, np.cumsum(np.bincount(rank)))
    result, start = {}, 0
    for part in (part for part in reversed(ORDER) if part in sizes):
        size = sizes[part]
        if part == "train":  # from all groups that are left
            rows = order[start:]
            result[part] = np.sort(rows) if size >= len(rows) else random.permutation(rows)[:size]
            continue
        result[part] = np.sort(order[start : start + size])
        start = int(bounds[np.searchsorted(bounds, min(start + size, len(order)))])
    return {part: result[part] for part in sizes}


def part_sizes(
    split: Mapping[str, Any], count: int, name: str = "data", parts: Sequence[str] = PARTS
) -> dict[str, int]:
    """Row counts of the parts of `count` rows, from the user's configuration.

    `split` maps a part to a fraction (0.6), a number of rows (1000), 0 (no such part) or None (the rest). Whole numbers
    of several parts that add up to 100 (98, 1, 1) are percent. Fractions that add up to 1 leave no row out; less leaves rows unused.

    Args:
        split: part -> size.
        count: number of rows.
        name: of the data, for messages.
        parts: the parts to fill.

    Returns:
        Part -> number of rows.

    Raises:
        DataError: a size is invalid, or there are too few rows.
    """
    given = {part: split[part] for part in parts if part in split}
    for part, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value):
            raise DataError(
                f"dataset.split.{part}={value}: give a fraction such as 0.2, a number of rows such as 1000, "
                f"0 for none, or null for the rest"
            )
    values = [value for value in given.values() if value is not None]
    whole = all(float(value).is_integer() for value in values)
    if len(values) == len(given) and whole and sum(values) == 100 and max(values) < 100:
        given = {part: value / 100 for part, value in given.items()}
    elif len(values) == len(given) and whole and max(values, default=0) == 1 == sum(values):
        given = {part: float(value) for part, value in given.items()}  # train=1: all of it
    sizes: dict[str, int] = {}
    share = 0.0
    for part, value in given.items():
        if value is None:
            continue
        fraction = isinstance(value, float) and value <= 1
        if not fraction and not float(value).is_integer():
            raise DataError(f"dataset.split.{part}={value}: a number of rows is whole, a fraction is at most 1")
        sizes[part] = int(value * count + 0.5) if fraction else int(value)
        share += value if fraction else 0.0
        if fraction and value > 0 and sizes[part] == 0:
            raise DataError(
                f"{name}: {count} row{'s' * (count != 1)} cannot be split: dataset.split.{part}={value} of that is "
                f"no row; use more data or larger parts"
            )
    if share > 1 + 1e-9:
        raise DataError(f"dataset.split: the fractions add up to {share:g}, more than 1")
    rest = [part for part, value in given.items() if value is None]
    if len(rest) > 1:
        raise DataError(f"dataset.split: only one part can be the rest (null), not {' and '.join(rest)}")
    if not rest and abs(share - 1) < 1e-9 and all(isinstance(value, float) or value == 0 for value in given.values()):
        rest = [max(sizes, key=lambda part: sizes[part])]  # the largest part absorbs the rounding error
    if rest:
        sizes[rest[0]] = count - sum(size for part, size in sizes.items() if part != rest[0])
    if sum(sizes.values()) > count or min(sizes.values(), default=0) < 0:
        raise DataError(
            f"{name}: {count} row{'s' * (count != 1)}, too few for dataset.split="
            + "{"
            + ", ".join(f"{part}: {'null' if split[part] is None else split[part]}" for part in given)
            + "}"
        )
    return {part: sizes.get(part, 0) for part in given}


def sources_of(
    sizes: Mapping[str, int], kept: np.ndarray | None = None
) -> list[tuple[int, int, tuple[str, ...]]] | None:
    """`sources` of `Content` from the sizes of the parts that data define, in order: val and test come from their own, or else from train. None
    for a single source without a name.

    Args:
        sizes: part -> number of rows.
        kept: indices of the rows that can be used, ascending; None: all.
    """
    if list(sizes) == [""]:
        return None
    absent = tuple(part for part in ("val", "test") if part not in sizes)
    total = np.cumsum(list(sizes.values()))
    ends = (total if kept is None else np.searchsorted(kept, total)).tolist()
    return [
        (start, end, ("train", TRAIN_DEV, *absent) if name == "train" else (name,))
        for name, start, end in zip(sizes, [0, *ends], ends)
    ]


def renormalized(split: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """The sizes of some parts; fractions are rescaled to sum to 1, and a single part gets everything."""
    given = {part: split.get(part) for part in parts}
    if len(parts) == 1:
        return {parts[0]: None if given[parts[0]] != 0 else 0}
    fractions = [value for value in given.values() if isinstance(value, float) and value <= 1]
    if len(fractions) < len(given) or not sum(fractions):
        return given
    return {part: value / sum(fractions) for part, value in given.items()}


def _check_classes(total: np.ndarray, filled: Sequence[str], sizes: Mapping[str, int], name: str) -> None:
    present = total[total > 0]
    needed = sum(sizes[part] >= len(total) for part in filled)
    if len(present) and present.min() < needed:
        label = int(np.flatnonzero((total > 0) & (total < needed))[0])
        raise SmallClass(label, int(total[label]), needed, filled, name)
    if "train" in filled and sizes["train"] < len(present):
        raise DataError(
            f"{name}: {sizes['train']} training rows are fewer than the {len(present)} classes; enlarge "
            f"dataset.split.train, or set dataset.split.stratify=false"
        )


class SmallClass(DataError):
    """A class has fewer rows than there are parts; `label` is its index, and `named` adds its name to the message."""

    def __init__(self, label: int, rows: int, needed: int, parts: Sequence[str], name: str, label_name: Any = None):
        self.details = (label, rows, needed, parts, name)
        super().__init__(
            f"{name}: class {label if label_name is None else label_name!r} has {rows} row{'s' * (rows != 1)}, "
            f"but a split by class into {', '.join(part for part in PARTS if part in parts)} needs {needed} of each; "
            f"leave that class out, or set dataset.split.stratify=false"
        )

    def named(self, labels: Sequence[Any]) -> SmallClass:
        """The same error with the name of the class."""
        return SmallClass(*self.details, label_name=labels[self.details[0]])


def _apportion(size: int, weights: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Integers that sum to `size`, in proportion to `weights`, within [least, most] (largest remainder)."""
    quota = size * weights / max(weights.sum(), 1)
    number = np.clip(np.floor(quota).astype(np.int64), least, most)
    while number.sum() < size and (number < weights).any():
        room = number < most if (number < most).any() else number < weights
        number[np.argmax(np.where(room, quota - number, -np.inf))] += 1
    while number.sum() > size:
        number[np.argmin(np.where(number > least, quota - number, np.inf))] -= 1
    return number
