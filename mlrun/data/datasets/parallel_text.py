"""Sentence pairs from files: two line-aligned files, one tab-separated file, or a folder with parts; plain, .gz, .zip or .tar.gz."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlrun.data.datasets.pairs import PairContent, Pairs, pair_content
from mlrun.data.readers.download import data_directory, fetch
from mlrun.data.readers.texts import decoded
from mlrun.data.splits import PARTS
from mlrun.errors import DataError

STEMS = {  # file names in a folder without the language, in order of preference
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "test_2016_flickr", "test2016", "test_2016", "flickr2016"),
}
ENDINGS = ("", ".txt", ".gz", ".txt.gz")
FRA_ENG = {"fra-eng.zip": "sha1:94646ad1522d915e7b0f9296181140edcf86a4f5"}
FRA_ENG_ADDRESSES = ["https://d2l-data.s3-accelerate.amazonaws.com/"]
MULTI30K = {
    "training.tar.gz": "sha256:20140d013d05dd9a72dfde46478663ba05737ce983f478f960c1123c6671be5e",
    "validation.tar.gz": "sha256:a7aa20e9ebd5ba5adce7909498b94410996040857154dab029851af3a866da8c",
    "mmt16_task1_test.tar.gz": "sha256:6d1ca1dba99e2c5dd54cae1226ff11c2551e6ce63527ebb072a1f70f72a5cd36",
}
MULTI30K_ADDRESSES = ["https://raw.githubusercontent.com/neychev/small_DL_repo/master/datasets/Multi30k/"]
PARTS_OF_ARCHIVE = dict(zip(MULTI30K, PARTS))
Sides = tuple[list[str], list[str]]  # sources and targets, line by line


class ParallelText(Pairs):
    """Pairs from UTF-8 text files, .gz, or a .zip that holds one tab-separated text. Pairs with an empty side are left out.

    Args:
        path: [source file, target file], line-aligned; or one tab-separated file; or a folder, which holds train.de and
            train.en (languages: [de, en]), and optionally val and test (or dev, valid, test_2016_flickr ...).
        problem, name, seed, options: see `Pairs`.
        val_path, test_path: files of those parts, in the form of `path`.
        languages: suffixes of a folder's files, source and target.
        columns: indices of the source and the target column in a tab-separated file.
    """

    def __init__(
        self,
        path: str | list[str] | None,
        problem: str,
        name: str,
        seed: int,
        val_path: str | list[str] | None = None,
        test_path: str | list[str] | None = None,
        languages: Sequence[str] | None = None,
        columns: Sequence[int] = (0, 1),
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.paths = {"train": path, "val": val_path, "test": test_path}
        self.languages, self.column_numbers = languages, list(columns)
        self._left_out = 0  # pairs with an empty side
        if len(self.column_numbers) != 2 or not all(type(one) is int and one >= 0 for one in self.column_numbers):
            raise DataError(
                f"dataset.columns={self.column_numbers}: give the numbers of the source and the target column, from 0: [0,1]"
            )
        if isinstance(path, str):
            self.title = path

    @property
    def summary(self) -> list[tuple[str, str]]:
        """Of `Pairs`, and how many pairs were left out."""
        left_out = [("left out", f"{self._left_out:,} pairs with an empty side")] if self._left_out else []
        return [*super().summary, *left_out]

    def read(self) -> PairContent:
        paths = {part: path for part, path in self.paths.items() if path is not None}
        train = paths["train"]
        if isinstance(train, str) and Path(train).expanduser().is_dir():
            paths = {
                **self._folder(Path(train).expanduser()),
                **{part: path for part, path in paths.items() if part != "train"},
            }
        return self.content_of({part: self._read_part(path) for part, path in paths.items()}, str(self.paths["train"]))

    def content_of(self, pairs: Mapping[str, Sides], origin: str) -> PairContent:
        """Concatenates part -> (sources, targets), and records the rows of all parts but train."""
        sources: list[str] = []
        targets: list[str] = []
        parts = {}
        for part, sides in pairs.items():
            kept = [(x.strip(), y.strip()) for x, y in zip(*sides) if x.strip() and y.strip()]
            self._left_out += len(sides[0]) - len(kept)
            parts[part] = (len(sources), len(sources) + len(kept))
            sources += [x for x, _ in kept]
            targets += [y for _, y in kept]
        return pair_content(sources, targets, origin, {part: ends for part, ends in parts.items() if part != "train"})

    def _folder(self, folder: Path) -> dict[str, list[str]]:
        if not self.languages or len(self.languages) != 2:
            raise DataError(f"{folder}: a folder needs the suffixes of its files, e.g. dataset.languages=[de,en]")
        found = {}
        for part, stems in STEMS.items():
            for stem in stems:
                files = [_existing(folder, f"{stem}.{language}") for language in self.languages]
                if all(files):
                    found[part] = [str(file) for file in files]
                    break
        if "train" not in found:
            raise DataError(
                f"{folder}: there are no files train.{self.languages[0]} and train.{self.languages[1]} (or .gz) in it"
            )
        return found

    def _read_part(self, path: str | list[str]) -> Sides:
        if isinstance(path, str):
            return tab_separated(Path(path).expanduser(), self.column_numbers)
        if len(path) != 2:
            raise DataError(f"dataset.path={path}: give one file with tabs, a folder, or [source file, target file]")
        files = [Path(side).expanduser() for side in path]
        source, target = (lines_of(file) for file in files)
        if len(source) != len(target):
            raise DataError(
                f"{files[0]} has {len(source)} lines, but {files[1]} has {len(target)}: they must be line-aligned"
            )
        return source, target


class FrenchEnglish(ParallelText):
    """French and English from `fra-eng.zip` or `fra.txt`, in `data_dir` or `data_dir`/fra_eng, or else downloaded. Raises DataError."""

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        columns: Sequence[int] = (0, 1),
        **options: Any,
    ):
        super().__init__(None, problem, name, seed, columns=columns, **options)
        self.folder = data_directory(data_dir)

    def read(self) -> PairContent:
        for folder in (self.folder, self.folder / "fra_eng"):
            for file in ("fra.txt", "fra-eng.zip"):
                if (folder / file).is_file():
                    sides = tab_separated(folder / file, self.column_numbers)
                    return self.content_of({"train": sides}, str(folder / file))
        fetch(FRA_ENG, FRA_ENG_ADDRESSES, self.folder / "fra_eng", self.name)
        return self.read()


class Multi30k(ParallelText):
    """Multi30k from files train.de ... test.en (or .gz), or the archives of WMT 2016, in `data_dir` or `data_dir`/multi30k, or else
    downloaded."""

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        languages: Sequence[str] = ("de", "en"),
        **options: Any,
    ):
        super().__init__(None, problem, name, seed, languages=list(languages), **options)
        self.folder = data_directory(data_dir)

    def read(self) -> PairContent:
        for folder in (self.folder, self.folder / "multi30k"):
            if _existing(folder, f"train.{self.languages[0]}"):
                return self.content_of(
                    {part: self._read_part(path) for part, path in self._folder(folder).items()}, str(folder)
                )
            if all((folder / archive).is_file() for archive in MULTI30K):
                pairs = {part: self._archived(folder / archive, part) for archive, part in PARTS_OF_ARCHIVE.items()}
                return self.content_of(pairs, str(folder))
        fetch(MULTI30K, MULTI30K_ADDRESSES, self.folder / "multi30k", self.name)
        return self.read()

    def _archived(self, archive: Path, part: str) -> Sides:
        sides: list[list[str]] = []
        with tarfile.open(archive) as content:
            members = {Path(member.name).name: member for member in content.getmembers() if member.isfile()}
            for language in self.languages:
                file = f"{part}.{language}"
                if file not in members:
                    raise DataError(
                        f"{archive}: there is no {file} in it; languages there: {', '.join(sorted(members))}"
                    )
                sides.append(decoded(content.extractfile(members[file]).read(), archive).splitlines())
        source, target = sides
        return source, target


def _existing(folder: Path, stem: str) -> Path | None:
    return next((folder / (stem + ending) for ending in ENDINGS if (folder / (stem + ending)).is_file()), None)


def tab_separated(path: Path, columns: Sequence[int]) -> Sides:
    """Two columns of a file, by their indices. Raises DataError naming a line with too few columns."""
    source, target, needed = [], [], max(columns) + 1
    for number, line in enumerate(lines_of(path), 1):
        cells = line.split("\t")
        if len(cells) < needed:
            if not line.strip():
                continue
            raise DataError(
                f"{path}, line {number}: {len(cells)} tab-separated columns, but dataset.columns={list(columns)} needs {needed}"
            )
        source.append(cells[columns[0]])
        target.append(cells[columns[1]])
    return source, target


def lines_of(path: Path) -> list[str]:
    """Lines of a UTF-8 text, plain, .gz, or the only text in a .zip. Raises DataError."""
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(path.read_bytes())
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [
                    name
                    for name in archive.namelist()
                    if name.endswith((".txt", ".tsv")) and not Path(name).name.startswith("_")
                ]
                if len(names) != 1:
                    raise DataError(
                        f"{path}: holds {len(names)} texts ({', '.join(names) or 'none'}), expected one: unpack it and name the file"
                    )
                content = archive.read(names[0])
        else:
            content = path.read_bytes()
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
    ) as error:  # RuntimeError: a password is needed
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    # not splitlines(): a sentence may hold U+2028
    return decoded(content, path).replace("\r\n", "\n").removesuffix("\n").split("\n")
