"""Pairs of a source text and a target text to generate: translation and similar problems."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Text
from mlrun.data.row_data import Content, RowData
from mlrun.data.splits import PARTS, part_sizes, split_rows
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.pair_batches import PairBatches
    from mlrun.data.preprocess.preprocessor import Preprocessor

log = logging.getLogger("mlrun")
MEASURES = ("exact_match", "bleu")
SAMPLED = 1000  # pairs from which the mean length is estimated
LETTERS_PER_SUBWORD = 4  # approximate, in European languages


@dataclass
class PairContent(Content):
    """Columns `source` and `target`, lists of equal length.

    parts: "val" or "test" -> (first row, row after the last), for predefined parts.
    """

    parts: dict[str, tuple[int, int]] = field(default_factory=dict)


def pair_content(
    sources: Sequence[str], targets: Sequence[str], origin: str, parts: Mapping[str, tuple[int, int]] | None = None
) -> PairContent:
    """The return value of `Pairs.read`. origin: where the pairs come from; parts: see `PairContent`."""
    columns = {"source": list(sources), "target": list(targets)}
    return PairContent(columns, {"source": Text(), "target": Text()}, origin, ("target",), parts=dict(parts or {}))


class Pairs(RowData):
    """Pairs of texts that fit in memory as ids. A subclass reads them: `read() -> PairContent`.

    An example of val or test is a distinct source with all its targets in that part; one of train is a pair. All pairs with the same
    source are in the same part.

    Args:
        problem, name, seed, options: see `RowData`.
        source_tokenizer, target_tokenizer, reverse_source, reverse_target: see `PairPreprocessor`.
        max_words: pairs with more words (separated by blanks) on either side are dropped.
        max_length: pairs with more tokens on either side are excluded from training; those of val and test stay.
        measure: "exact_match" or "bleu", the metric that selects the best epoch.
        bucket: batches per pool of shuffled texts that are sorted by length to reduce padding; 1: no sorting.
        teacher: a run whose generated texts replace the targets of the training pairs (sequence-level distillation, Kim and Rush 2016,
            arXiv:1606.07947); None: the targets as they are. The experiment opens it and calls `distil`.
    """

    preprocessor: ClassVar[str] = "mlrun.data.preprocess.pairs.PairPreprocessor"
    splits_by_class = False

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        source_tokenizer: dict[str, Any] | None = None,
        target_tokenizer: dict[str, Any] | None = None,
        reverse_source: bool = False,
        reverse_target: bool = False,
        max_words: int | None = None,
        max_length: int | None = None,
        measure: str = "exact_match",
        bucket: int = 20,
        teacher: str | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.teacher = teacher
        if problem != "translation":
            raise DataError(f"dataset.problem={problem}: {name} is a translation set")
        if measure not in MEASURES:
            raise DataError(f"dataset.measure={measure}: choose one of {', '.join(MEASURES)}")
        self.preprocessing |= {
            "source_tokenizer": source_tokenizer or {"kind": "characters"},
            "target_tokenizer": target_tokenizer,
            "reverse_source": reverse_source,
            "reverse_target": reverse_target,
            "max_length": max_length,
        }
        self.max_words, self.max_length, self.measure, self.bucket = max_words, max_length, measure, bucket
        self._content: PairContent | None
        self._pairs: dict[str, np.ndarray] = {}  # part -> rows of all its pairs
        self._references: dict[str, list[list[str]]] = {}

    def read(self) -> PairContent:
        raise NotImplementedError

    def prepare(self) -> None:
        if self._rows is not None:
            return
        content = self.read()
        if self.max_words is not None:
            content = within(content, self.max_words)
        if not len(content):
            raise DataError(
                f"{self.title}: contains no pairs of texts"
                + (f" of at most {self.max_words} words" * (self.max_words is not None))
            )
        self._content = content
        self._pairs = self._split()
        self._rows = self._distinct(self._pairs)

    def _distinct(self, pairs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows of the examples of each part: all pairs in train, the first pair of each source in the others."""
        sources = self._content.columns["source"]
        found: dict[str, np.ndarray] = {}
        for part, rows in pairs.items():
            if part == "train":
                found[part] = rows
            else:
                first: dict[str, int] = {}
                for row in rows:
                    first.setdefault(sources[row], row)
                found[part] = np.fromiter(first.values(), dtype=np.int64, count=len(first))
        return found

    def _split(self) -> dict[str, np.ndarray]:
        """Part -> row numbers of its pairs. Splits the distinct sources; all pairs of a source go to its part."""
        own, sources = self._content.parts, self._content.columns["source"]
        split = {part: size for part, size in self.split.items() if part in PARTS and part not in own}
        unknown = [key for key in self.split if key not in (*PARTS, "seed", "stratify")]
        if unknown:
            raise DataError(f"dataset.split.{unknown[0]}: the parts are {', '.join(PARTS)}; a further key is seed")
        result = {part: np.arange(*own.get(part, (0, 0))) for part in PARTS}
        common = np.setdiff1d(np.arange(len(sources)), np.concatenate(list(result.values())))
        if set(split) <= {"train"} and split.get("train") is None:
            return {**result, "train": common}
        split.setdefault("train", None)  # the rest of the training files
        groups = _numbered(sources[row] for row in common)
        count = int(groups.max(initial=-1)) + 1
        seed = self.split.get("seed")
        sizes = part_sizes(split, count, self.title)
        split_groups = split_rows(np.arange(count), sizes, self.seed if seed is None else seed, None, self.title)
        by_group = np.argsort(groups, kind="stable")
        first = np.searchsorted(groups[by_group], np.arange(count + 1))
        for part, wanted in split_groups.items():
            result[part] = common[
                np.concatenate([by_group[first[group] : first[group + 1]] for group in wanted] or [by_group[:0]])
            ]
        return result

    def distil(self, generate: Callable[[Examples], Sequence[str]]) -> None:
        """Replaces the targets of the training pairs. generate: sources -> one text each."""
        self.prepare()
        sources, targets = self._content.columns["source"], list(self._content.columns["target"])
        rows = self._pairs["train"]
        distinct = list(dict.fromkeys(sources[row] for row in rows))
        column = np.empty(len(distinct), dtype=object)
        column[:] = distinct
        made = dict(zip(distinct, generate(Examples({"source": column}, {"source": self.features["source"]}))))
        for row in rows:
            targets[row] = made[sources[row]]
        self._content = replace(self._content, columns={"source": sources, "target": targets})
        self._references.pop("train", None)

    @property
    def summary(self) -> list[tuple[str, str]]:
        """Of `RowData`, and how many sources of val and test that come with the data are also in train."""
        return [*super().summary, *self.copies("source", "sources")]

    @property
    def groups(self) -> np.ndarray:
        """(all pairs,) the number of each pair's source."""
        return _numbered(self.content.columns["source"])

    @property
    def pool(self) -> np.ndarray:
        self.prepare()
        own = self._content.parts
        return np.sort(
            np.concatenate([rows for part, rows in self._pairs.items() if part != "test" or part not in own])
        )

    def with_parts(self, parts: Mapping[str, np.ndarray]) -> Pairs:
        """The given rows are pairs, of which val and test have one example for each source, see `Pairs`."""
        view = super().with_parts(parts)
        assert isinstance(view, Pairs)
        view._pairs, view._references = view._rows, {}
        view._rows = view._distinct(view._pairs)
        return view

    def column(self, name: str) -> np.ndarray:
        if name in self.content.columns:
            return np.asarray(self.content.columns[name], dtype=object)
        return super().column(name)

    def examples(self, part: str) -> Examples:
        """Sources, and for each the list of its references in this part; a training pair's own target comes first."""
        rows, columns = self.rows(part), self.content.columns
        sources = np.empty(len(rows), dtype=object)
        sources[:] = [columns["source"][row] for row in rows]
        return Examples({"source": sources, "target": self._references_of(part, rows)}, self.features)

    def _references_of(self, part: str, rows: np.ndarray) -> list[list[str]]:
        if part not in self._references:
            sources, targets = self.content.columns["source"], self.content.columns["target"]
            found: dict[str, list[str]] = {}
            for row in self._pairs.get(part, ()):
                found.setdefault(sources[row], []).append(targets[row])
            self._references[part] = [
                [targets[row], *(other for other in found[sources[row]] if other != targets[row])]
                if part == "train"
                else found[sources[row]]
                for row in rows
            ]
        return self._references[part]

    @cached_property
    def digest(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for texts in self.content.columns.values():
            digest.update("\n".join(texts).encode())
        return digest.hexdigest()

    @property
    def items_per_batch(self) -> int:
        """Tokens of an average batch, estimated from the lengths of some texts."""
        of_source, of_target = self.preprocessing["source_tokenizer"], self.preprocessing["target_tokenizer"]
        columns, rows = self.content.columns, self.rows("train")[:SAMPLED]
        sides = (("source", of_source), ("target", of_target or of_source))
        counts = [_length(columns[side][row], settings["kind"]) for side, settings in sides for row in rows]
        return int(self.batch_size * sum(counts) / max(1, len(counts)))

    @property
    def spec(self) -> dict[str, Any]:
        return {"measure": self.measure}

    def loader(
        self,
        part: str,
        preprocessor: Preprocessor,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> PairBatches | None:
        """Batches of similar lengths. Training leaves out pairs longer than `max_length`; otherwise each example occurs once."""
        import torch

        from mlrun.data.batches import columns_of
        from mlrun.data.pair_batches import PairBatches

        examples = self.examples(part)
        if not len(examples):
            return None
        encoded = preprocessor.encode(examples)
        lengths = {name: torch.from_numpy(encoded[name].lengths()) for name in ("input_ids", "labels")}
        places = None
        if shuffle and part == "train" and self.max_length is not None:
            # of both sides: the source has one token more than its text, the labels too (EOS); `lengths` counts BOS
            longest = torch.maximum(lengths["input_ids"] - 1, lengths["labels"] - 2)
            places = torch.nonzero(longest <= self.max_length).flatten()
            if len(places) < len(examples):
                log.info(
                    "%s: %d of %d training pairs are longer than %d tokens and left out",
                    self.title,
                    len(examples) - len(places),
                    len(examples),
                    self.max_length,
                )
            encoded = {name: values.take(places.numpy()) for name, values in encoded.items()}
            lengths = {name: values[places] for name, values in lengths.items()}
        return PairBatches(
            columns_of(encoded, device),
            lengths["input_ids"],
            lengths["labels"],
            self.batch_size,
            self.bucket if shuffle else None,
            device,
            places,
            shuffle=shuffle,
            seed=self.seed,
            shard=shard,
        )


def _numbered(texts: Iterable[str]) -> np.ndarray:
    """(texts,) int64, the same number for equal texts, in the order in which they come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)


def _length(text: str, kind: str) -> float:
    """Approximate number of tokens of a text."""
    if kind == "characters":
        return len(text)
    return len(text.split()) if kind == "words" else len(text) / LETTERS_PER_SUBWORD


def within(content: PairContent, words: int) -> PairContent:
    """The pairs whose sides both have at most this many words, separated by blanks."""
    sources, targets = content.columns["source"], content.columns["target"]
    kept = [len(x.split()) <= words and len(y.split()) <= words for x, y in zip(sources, targets)]
    before = np.concatenate([[0], np.cumsum(kept)])
    parts = {part: (int(before[first]), int(before[last])) for part, (first, last) in content.parts.items()}
    short_sources, short_targets = (
        [text for text, is_short in zip(side, kept) if is_short] for side in (sources, targets)
    )
    return pair_content(short_sources, short_targets, content.source, parts)
