"""Pairs of texts, one to read and one to write: translation and everything of its form."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlrun.data.module import DataModule
from mlrun.data.preprocess.text import as_texts, padded
from mlrun.data.preprocess.tokenizer import BOS, EOS, Tokenizer
from mlrun.data.spec import Spec
from mlrun.data.splits import PARTS, part_sizes, split_rows
from mlrun.errors import DataError

log = logging.getLogger("mlrun")
MEASURES = ("exact_match", "bleu")
# cut out of "t-shirt", which BLEU counts as one word; a dash between blanks is much rarer
_HYPHEN = re.compile(r"(?<=\w) - (?=\w)")


@dataclass
class PairContent:
    """What a file or a generator gives. source, target: lists of equal length; origin: where they come from;
    parts: "val" or "test" -> (first row, row after the last), where the data bring parts of their own."""

    source: list[str]
    target: list[str]
    origin: str
    parts: dict[str, tuple[int, int]]


class PairEncoding:
    """Source texts -> (rows, longest) int64 ids that end with EOS and PAD, and ids of the target language -> text. `state` is plain.

    reverse_source, reverse_target: tokens are read or written from the last to the first (Sutskever et al. 2014).
    """

    target_mean, target_std = 0.0, 1.0

    def __init__(self, source, target, reverse_source=False, reverse_target=False):
        """source, target: a Tokenizer or its state; target None: the source's."""
        self.source = source if isinstance(source, Tokenizer) else Tokenizer.from_state(source)
        target = self.source if target is None else target
        self.target = target if isinstance(target, Tokenizer) else Tokenizer.from_state(target)
        self.reverse_source, self.reverse_target = reverse_source, reverse_target

    def __call__(self, texts) -> np.ndarray:
        return padded([self.source_ids(text) for text in as_texts(texts)])

    def source_ids(self, text: str) -> np.ndarray:
        ids = np.asarray(self.source.encode(text), dtype=np.int32)
        return np.append(ids[::-1] if self.reverse_source else ids, np.int32(EOS))

    def target_ids(self, text: str) -> np.ndarray:
        ids = np.asarray(self.target.encode(text), dtype=np.int32)
        return np.concatenate([[BOS], ids[::-1] if self.reverse_target else ids, [EOS]]).astype(np.int32)

    def text(self, ids) -> str:
        """What target ids (tokens,) say, up to EOS."""
        kept = []
        for token in ids:
            if token == EOS:
                break
            kept.append(int(token))
        text = self.target.decode(kept[::-1] if self.reverse_target else kept)
        return _HYPHEN.sub("-", text) if self.target.kind == "words" else text

    @property
    def state(self):
        return {
            "kind": "pairs",
            "source": self.source.state,
            "target": None if self.target is self.source else self.target.state,
            "reverse_source": self.reverse_source,
            "reverse_target": self.reverse_target,
        }


class Pairs(DataModule):
    """Pairs of texts that fit in memory as ids. A subclass reads them: `read() -> PairContent`.

    source_tokenizer, target_tokenizer: {kind: characters | words | bpe | wordpiece, size, min_frequency, lowercase}, trained on the
        training pairs; target_tokenizer None: one vocabulary for both.
    reverse_source, reverse_target: see PairEncoding.
    max_words: longer pairs (blank-separated words, either side) are not used at all. max_length: pairs with more tokens on either side
        are not trained on; those of val and test stay.
    measure: "exact_match" or "bleu", which the final model is chosen by.
    bucket: batches whose texts are shuffled together and sorted by length, so that a batch holds little padding; 1: none.
    split: as everywhere. Pairs with the same source come into the same part, and are one row with several references there.
    """

    def __init__(
        self,
        problem,
        name,
        seed,
        split=None,
        batch_size=64,
        num_workers=0,
        source_tokenizer=None,
        target_tokenizer=None,
        reverse_source=False,
        reverse_target=False,
        max_words=None,
        max_length=None,
        measure="exact_match",
        bucket=20,
    ):
        super().__init__(problem, name, seed, split, batch_size, num_workers)
        if problem != "translation":
            raise DataError(f"dataset.problem={problem}: {name} is a translation set")
        if measure not in MEASURES:
            raise DataError(f"dataset.measure={measure}: choose one of {', '.join(MEASURES)}")
        self.tokenizers = {"source": source_tokenizer or {"kind": "characters"}, "target": target_tokenizer}
        self.reverse_source, self.reverse_target = reverse_source, reverse_target
        self.max_words, self.max_length, self.measure, self.bucket = max_words, max_length, measure, bucket
        self._content = self._rows = None

    def read(self):
        raise NotImplementedError

    def prepare(self):
        if self._rows is None:
            content = self.read()
            if self.max_words is not None:
                content = within(content, self.max_words)
            if not content.source:
                raise DataError(
                    f"{self.title}: no pairs of texts in it"
                    + (f" of at most {self.max_words} words" * (self.max_words is not None))
                )
            self._content, self._rows = content, self._split(content)

    @property
    def content(self) -> PairContent:
        self.prepare()
        return self._content

    def rows(self, part) -> np.ndarray:
        self.prepare()
        return self._rows[part]

    def _split(self, content):
        """Part -> row numbers. Distinct sources are split, and a source's pairs go where it goes."""
        own = content.parts
        split = {part: size for part, size in self.split.items() if part in PARTS and part not in own}
        unknown = [key for key in self.split if key not in (*PARTS, "seed", "stratify")]
        if unknown:
            raise DataError(f"dataset.split.{unknown[0]}: the parts are {', '.join(PARTS)}; a further key is seed")
        result = {part: np.arange(*own.get(part, (0, 0))) for part in PARTS}
        common = np.setdiff1d(np.arange(len(content.source)), np.concatenate(list(result.values())))
        if set(split) <= {"train"} and split.get("train") is None:
            return {**result, "train": common}
        split.setdefault("train", None)  # what the other parts leave of the files for training
        numbers, groups = {}, np.empty(len(common), dtype=np.int64)
        for place, row in enumerate(common):
            groups[place] = numbers.setdefault(content.source[row], len(numbers))
        seed = self.split.get("seed")
        sizes = part_sizes(split, len(numbers), self.title)
        chosen = split_rows(np.arange(len(numbers)), sizes, self.seed if seed is None else seed, None, self.title)
        by_group = np.argsort(groups, kind="stable")
        first = np.searchsorted(groups[by_group], np.arange(len(numbers) + 1))
        for part, wanted in chosen.items():
            result[part] = common[
                np.concatenate([by_group[first[group] : first[group + 1]] for group in wanted] or [by_group[:0]])
            ]
        return result

    @property
    def sizes(self):
        """Pairs of the training part; distinct sources of the others."""
        return {part: len(self.rows(part)) if part == "train" else len(self.references(part)[0]) for part in PARTS}

    def references(self, part) -> tuple[list[str], list[list[str]]]:
        """Distinct sources of a part, and for each the targets that it has there, in lower case where the target's tokens are."""
        if part not in self._references:
            content, found = self.content, {}
            lowercase = (self.tokenizers["target"] or self.tokenizers["source"]).get("lowercase")
            for row in self.rows(part):
                target = content.target[row]
                found.setdefault(content.source[row], []).append(target.lower() if lowercase else target)
            self._references[part] = list(found), list(found.values())
        return self._references[part]

    @cached_property
    def _references(self) -> dict:
        return {}

    @property
    def source(self):
        return self.content.origin

    @cached_property
    def digest(self):
        digest = hashlib.blake2b(digest_size=8)
        for texts in (self.content.source, self.content.target):
            digest.update("\n".join(texts).encode())
        return digest.hexdigest()

    @cached_property
    def transform(self) -> PairEncoding:
        rows = self.rows("train")
        if not len(rows):
            raise DataError(f"{self.title}: no training pairs to make a vocabulary of (dataset.split.train)")
        source, target = ([texts[row] for row in rows] for texts in (self.content.source, self.content.target))
        if self.tokenizers["target"] is None:
            return PairEncoding(
                Tokenizer.train([*source, *target], **self.tokenizers["source"]),
                None,
                self.reverse_source,
                self.reverse_target,
            )
        trained = (
            Tokenizer.train(texts, **self.tokenizers[side]) for texts, side in ((source, "source"), (target, "target"))
        )
        return PairEncoding(*trained, self.reverse_source, self.reverse_target)

    @cached_property
    def _train_ids(self) -> tuple[list, list]:
        """Sources and targets of the training pairs that are not too long."""
        rows, content, encoding = self.rows("train"), self.content, self.transform
        source = [encoding.source_ids(content.source[row]) for row in rows]
        target = [encoding.target_ids(content.target[row]) for row in rows]
        if self.max_length is not None:
            short = [len(x) - 1 <= self.max_length and len(y) - 2 <= self.max_length for x, y in zip(source, target)]
            if not any(short):
                raise DataError(
                    f"{self.title}: no training pair has at most {self.max_length} tokens (dataset.max_length)"
                )
            if not all(short):
                log.info(
                    "%s: %d of %d training pairs are longer than %d tokens and left out",
                    self.title,
                    short.count(False),
                    len(short),
                    self.max_length,
                )
            source, target = ([ids for ids, kept in zip(side, short) if kept] for side in (source, target))
        return source, target

    @property
    def positions(self) -> int:
        """Tokens of an average batch, for the choice of threads."""
        source, target = self._train_ids
        return self.batch_size * (sum(map(len, source)) + sum(map(len, target))) // (2 * len(source))

    @cached_property
    def spec(self):
        encoding = self.transform
        longest = max(map(len, self._train_ids[1])) - 1
        facts = {
            "source_vocab_size": len(encoding.source),
            "target_vocab_size": len(encoding.target),
            "max_target_length": longest + longest // 4,  # tokens to write at most, the end included
            "measure": self.measure,
        }
        return Spec(self.problem, facts)

    def example(self, part):
        return self.references(part)[0][:5]

    def loader(self, part, device="cpu", shuffle=False, shard=(0, 1)):
        """Batches of source (batch, sources) and target (batch, targets) int64, the target from BOS to EOS.

        Without shuffling, each distinct source once, with the first of its targets; `order` says in which order `references` come.
        """
        from mlrun.data.pair_batches import PairBatches

        if not len(self.rows(part)):
            return None
        if shuffle and part == "train":
            source, target = self._train_ids
        else:
            texts, references = self.references(part)
            source = [self.transform.source_ids(text) for text in texts]
            target = [self.transform.target_ids(first) for first, *_ in references]
        bucket = self.bucket if shuffle else None
        batches = PairBatches(source, target, self.batch_size, bucket, device, shuffle, self.seed, shard)
        batches.part = part
        return batches


def within(content: PairContent, words: int) -> PairContent:
    """Only the pairs of which both sides have at most so many blank-separated words."""
    kept = [len(x.split()) <= words and len(y.split()) <= words for x, y in zip(content.source, content.target)]
    before = np.concatenate([[0], np.cumsum(kept)])
    parts = {part: (int(before[first]), int(before[last])) for part, (first, last) in content.parts.items()}
    source, target = ([text for text, good in zip(side, kept) if good] for side in (content.source, content.target))
    return PairContent(source, target, content.origin, parts)
