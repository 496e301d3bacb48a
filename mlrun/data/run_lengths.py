"""Masks as run lengths, COCO's uncompressed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a mask (height, width) bool, column by column, alternately outside and inside, as COCO's uncompressed RLE."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]]).astype(np.int8)) != 0)
    return np.diff(np.concatenate([[0], ends])).tolist()


def from_run_lengths(counts: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The inverse of `run_lengths`: (height, width) bool. Raises ValueError if the runs do not fill the size."""
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(counts)} pixels for a mask of {size[0]} x {size[1]}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(tuple(size), order="F")
