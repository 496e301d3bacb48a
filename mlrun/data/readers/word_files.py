"""Word pairs with human judgements of their similarity, and analogy questions, in their usual file formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from mlrun.data.readers.download import data_directory
from mlrun.data.readers.texts import read_text
from mlrun.errors import DataError

# Name of a set -> its usual file names; in the data directory, a folder of the set's name in it, or the test data of an installed gensim.
PAIRS = {
    "wordsim353": ("wordsim353.tsv", "combined.csv", "combined.tab", "wordsim353.csv", "wordsim353.txt"),
    "simlex999": ("SimLex-999.txt", "simlex999.txt"),
    "men": ("MEN_dataset_natural_form_full", "men.txt", "MEN_dataset_lemma_form_full"),
}
QUESTIONS = ("questions-words.txt",)
FOLDERS = {"wordsim353": ("wordsim353",), "simlex999": ("simlex999", "SimLex-999"), "men": ("men", "MEN"), "analogies": ("analogies",)}  # fmt: skip
_SCORE = "simlex999"  # header of the score where it is not the third column
_PART_OF_SPEECH = re.compile(r"-[nvjr]$")  # of MEN's lemmas


def find_file(name: str, files: Sequence[str], data_dir: str | Path | None = None) -> Path | None:
    """The first of the files that exists; None if there is none."""
    root = data_directory(data_dir)
    places = [root, *(root / folder for folder in FOLDERS.get(name, (name,)))]
    gensim = PathFinder.find_spec("gensim")
    if gensim is not None and gensim.submodule_search_locations:
        places.append(Path(gensim.submodule_search_locations[0]) / "test" / "test_data")
    return next((place / file for place in places for file in files if (place / file).is_file()), None)


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    """(first word, second word, score) in lower case: WordSim-353, SimLex-999, MEN, or any text with two words and a number per line.

    Fields are separated by tabs, commas, semicolons or blanks; lines that begin with # and a header are left out. Raises DataError for
    another line.
    """
    found: list[tuple[str, str, float]] = []
    column = 2
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        separator = next((one for one in ("\t", ",", ";") if one in line), None)
        fields = [field.strip() for field in line.split(separator)]
        try:
            score = float(fields[column])
        except (ValueError, IndexError):
            if found or len(fields) < 3:
                raise DataError(f"{path}, line {number}: expected two words and a number") from None
            header = [field.lower() for field in fields]
            column = header.index(_SCORE) if _SCORE in header else 2
            continue
        first, second = (_PART_OF_SPEECH.sub("", word.lower()) for word in fields[:2])
        found.append((first, second, score))
    if not found:
        raise DataError(f"{path}: there are no pairs of words in it")
    return found


def read_questions(path: Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """Section -> questions (a, b, c, d), a is to b as c is to d, in lower case; `: name` begins a section. Raises DataError."""
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    section = "all"
    for number, line in enumerate(_lines(path), 1):
        words = line.lower().split()
        if words[:1] == [":"]:
            section = " ".join(words[1:])
        elif len(words) == 4:
            sections.setdefault(section, []).append((words[0], words[1], words[2], words[3]))
        elif words:
            raise DataError(f"{path}, line {number}: expected four words")
    return sections


def _lines(path: Path) -> list[str]:
    return read_text(path).split("\n")
