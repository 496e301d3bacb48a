"""Common base of datasets with images whose places matter: boxes, masks, points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlrun.data.row_data import ArrayData
from mlrun.errors import DataError


class SceneData(ArrayData):
    """Images as `Photo`s with targets in their pixels.

    Args:
        problem, name, seed, options: see `ArrayData`.
        image_size: height and width of the network input, one number or both; null for those of the images, if they are all the same.
        augment: steps of `mlrun.data.augment`, applied in order to each training batch.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        image_size: int | Sequence[int] | None = None,
        augment: Sequence[Any] | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        sides = [image_size] if isinstance(image_size, int) else list(image_size or ())
        if len(sides) > 2 or any(not isinstance(side, int) or side < 1 for side in sides):
            raise DataError(f"dataset.image_size={image_size}: give height and width in pixels, such as 96 or [96,128]")
        self.preprocessing |= {"image_size": image_size, "augment": list(augment or [])}

    def check_problem(self, problems: Sequence[str]) -> None:
        """Raises DataError if the dataset's problem is none of these."""
        if self.problem not in problems:
            raise DataError(f"dataset.problem={self.problem}: choose one of {', '.join(problems)}")
