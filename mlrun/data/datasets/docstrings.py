"""The documentation in installed packages: as one text for language models and word vectors, and as texts with their package as class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mlrun.data.datasets.labelled_text import TextData
from mlrun.data.datasets.text_file import TextStream
from mlrun.data.examples import Examples
from mlrun.data.readers.docstrings import Docstring, digest_of, read_docstrings, versions
from mlrun.data.row_data import Content
from mlrun.data.splits import PARTS, part_sizes, split_groups
from mlrun.data.text_pieces import Buffer, TextPieces
from mlrun.errors import DataError

BETWEEN = "\n\n\n"  # between two texts of the stream


class Library:
    """The texts of some packages, read on first use.

    packages: names of installed packages. Raises DataError for one that is not there.
    """

    def __init__(self, packages: Sequence[str]):
        if isinstance(packages, str) or not packages:
            raise DataError(f"dataset.packages={packages}: give a list of packages, such as [numpy, scipy]")
        self.versions = versions(packages)

    @cached_property
    def texts(self) -> list[Docstring]:
        """All texts, by package and module."""
        return read_docstrings(self.versions)

    @property
    def digest(self) -> str:
        """Hash of the packages' versions."""
        return digest_of(self.versions)

    @property
    def source(self) -> str:
        """The packages with their versions."""
        return "documentation of " + ", ".join(f"{name} {version}" for name, version in self.versions.items())

    def parts(self, split: dict[str, Any], seed: int, title: str) -> dict[str, np.ndarray]:
        """Part -> indices of its texts. A module is never divided, and a text that occurs again in another module goes where its first
        occurrence goes. Raises DataError for sizes that do not fit."""
        unknown = [key for key in split if key not in (*PARTS, "seed", "stratify")]
        if unknown:
            raise DataError(f"dataset.split.{unknown[0]}: the parts are {', '.join(PARTS)}; a further key is seed")
        first: dict[str, str] = {}
        modules = [first.setdefault(" ".join(text.body.split()), text.module) for text in self.texts]
        chosen = split.get("seed")
        sizes = part_sizes(split, len(modules), title)
        return split_groups(np.unique(modules, return_inverse=True)[1], sizes, seed if chosen is None else chosen)


class Docstrings(TextStream):
    """The texts one after another; `examples` has one row for each text.

    Args:
        packages: see `Library`.
        problem, name, seed, options: see `TextStream`; split: fractions or numbers of texts.
    """

    def __init__(self, problem: str, name: str, seed: int, packages: Sequence[str], **options: Any):
        super().__init__(problem, name, seed, **options)
        self.library = Library(packages)

    def prepare(self) -> None:
        if self._pieces is not None:
            return
        bodies = [text.body for text in self.library.texts]
        self._rows = self.library.parts(self.split, self.seed, self.title)
        self._pieces = {}
        for part, rows in self._rows.items():
            buffer = BETWEEN.join(bodies[row] for row in rows).encode()
            self._pieces[part] = TextPieces(buffer, 0, len(buffer), self.title)

    def buffer(self) -> Buffer:
        return BETWEEN.join(text.body for text in self.library.texts).encode()

    def examples(self, part: str) -> Examples:
        self.prepare()
        column = np.empty(len(self._rows[part]), dtype=object)
        column[:] = [self.library.texts[row].body for row in self._rows[part]]
        return Examples({"text": column}, self.features)

    @property
    def source(self) -> str:
        return self.library.source

    @property
    def digest(self) -> str:
        return self.library.digest


class DocstringPackages(TextData):
    """Which package is a text from?

    Args:
        packages: see `Library`; at least two.
        problem, name, seed, options: see `TextData`.
    """

    def __init__(self, problem: str, name: str, seed: int, packages: Sequence[str], **options: Any):
        super().__init__(problem, name, seed, **options)
        self.library = Library(packages)

    def read(self) -> Content:
        texts = self.library.texts
        return self.content_of(
            [text.body for text in texts], [text.package for text in texts], self.library.source, target="package"
        )

    def _split(self) -> dict[str, np.ndarray]:
        return self.library.parts(self.split, self.seed, self.title)

    @property
    def digest(self) -> str:
        return self.library.digest
