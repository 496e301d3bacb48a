"""Queries of similarity models: do two examples match, and which are the nearest to one?"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.rows import read_rows
from mlrun.errors import UserError
from mlrun.predictions.query import Query, check_usable

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner


class Pair(Query):
    """`mlrun predict RUN a.png b.png`: the distance of two examples, and whether they are of the same class.

    Two files with several rows, or two folders, are compared row by row.
    """

    name = "other"
    title = "INPUT OTHER"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "other",
            nargs="?",
            help="an image, folder or table with which INPUT is compared: distance, and match or not",
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        task = learner.task
        (names, vectors), (others, second) = (
            vectors_of(learner, source, arguments) for source in (arguments.input, arguments.other)
        )
        if len(vectors) != len(second):
            raise UserError(
                f"{arguments.input} has {len(vectors)} examples and {arguments.other} {len(second)}: give equally many, "
                "which are compared in pairs"
            )
        count, threshold = len(vectors), float(task.threshold)
        both = np.concatenate([vectors, second])
        distances = task.distances(both, np.arange(count), np.arange(count, 2 * count))
        for name, other, distance in zip(names, others, distances):
            print(f"{name}  {other}  distance {distance:.4g}  {verdict(distance, threshold)}")
        if not np.isfinite(threshold):
            print(
                "There is no threshold, because the validation part of the run (dataset.split.val) had no pairs of the same class and of "
                "different ones."
            )
        return 0


class Neighbours(Query):
    """`--neighbours photo.png --among FOLDER`: the most similar examples of a folder or table."""

    name = "neighbours"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--neighbours", metavar="FILE", help="an image (or a file with rows) whose most similar ones are listed"
        )
        add_search_options(parser)

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        check_search_options(arguments, self.title)
        task, threshold = learner.task, float(learner.task.threshold)
        names, vectors = vectors_of(learner, arguments.neighbours, arguments)
        among, known = vectors_of(learner, arguments.among, arguments)
        for name, distances in zip(names, task.distance_matrix(vectors, known)):
            print(name)
            for place in np.argsort(distances, kind="stable")[: arguments.count]:
                print(f"  {distances[place]:.4g}  {among[place]}  {verdict(distances[place], threshold)}".rstrip())
        return 0


def add_search_options(parser: ArgumentParser) -> None:
    """Declares `--among` and `--count`."""
    parser.add_argument("--among", metavar="FOLDER", help="where to search: a folder of images, or a table")
    parser.add_argument("--count", type=int, default=10, help="how many to list (default: 10)")


def check_search_options(arguments: Namespace, option: str) -> None:
    """Raises UserError if it is not said where to search, or nothing is to be listed. option: that of the query."""
    if arguments.among is None:
        raise UserError(f"{option}: say where to search with --among FOLDER")
    if arguments.count < 1:
        raise UserError(f"--count {arguments.count}: give at least 1")


def verdict(distance: float, threshold: float) -> str:
    """ "match" or "no match" with the threshold; empty if there is none."""
    if not np.isfinite(threshold):
        return ""
    return f"{'match' if distance < threshold else 'no match'} (threshold {threshold:.4g})"


def vectors_of(learner: Learner, source: str, arguments: Namespace) -> tuple[list[str], np.ndarray]:
    """Names and vectors (rows, size) of the examples of a file or folder. Raises UserError for unusable ones."""
    names: list[str] = []
    found = []
    for read in read_rows(source, learner.inputs, arguments.format, arguments.separator):
        piece = read()
        check_usable(source, piece)
        if piece.examples is not None:
            names += [str(place) for place in piece.places]
            found.append(learner.predict(piece.examples).answers())
    if not found:
        raise UserError(f"{source}: has no rows")
    return names, np.concatenate(found)
