"""Tokenizers convert text to token ids and back: characters, words, byte-pair encoding, WordPiece.

Ids 0 to 3 are the same in every vocabulary: padding, unknown, begin and end of a sequence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from mlrun.data.preprocess.word_pattern import WORD
from mlrun.errors import DataError

PAD, UNK, BOS, EOS = range(4)
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
KINDS = ("characters", "words", "bpe", "wordpiece")
SUBWORD_SIZE = 8000  # default size of a subword vocabulary
_CODE_POINTS = 0x110000


class Tokenizer:
    """A vocabulary and a rule that splits text into its tokens. Create one with `train` or `from_state`.

    characters: code points; words: runs of letters and digits with their marks, and single other symbols; bpe: merged pairs of bytes, so that no
    text is unknown (Sennrich et al. 2016, on bytes as in GPT-2); wordpiece: pieces of words (Schuster and Nakajima 2012).
    `decode(encode(text))` restores known text, up to the spacing of words.
    """

    def __init__(self, kind: str, vocabulary: list[str], lowercase: bool = False, model: str | None = None):
        """vocabulary: tokens in the order of their ids, special ones first; model: JSON of the library `tokenizers`, for subwords."""
        self.kind, self.vocabulary, self.lowercase, self.model = kind, list(vocabulary), bool(lowercase), model
        self.ids = {token: index for index, token in enumerate(self.vocabulary)}
        self._subwords: Any = None
        self._table: np.ndarray | None = None
        if kind in ("bpe", "wordpiece"):
            self._subwords = _library().Tokenizer.from_str(model)
            self._subwords.encode_special_tokens = True  # "<eos>" in a text is five characters

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: str,
        size: int | None = None,
        min_frequency: int = 1,
        lowercase: bool = False,
        **others: Any,
    ) -> Tokenizer:
        """A vocabulary of at most `size` tokens, including the special ones, each seen `min_frequency` times; all others become <unk>.

        texts: an iterable of strings, read once. others: none; they are settings of the user. Raises DataError for an invalid setting, such
        as a size without room for text.
        """
        if kind not in KINDS:
            raise DataError(f"tokenizer {kind}: choose one of {', '.join(KINDS)}")
        if others:
            raise DataError(
                f"a tokenizer has no {', '.join(others)}: its settings are kind, size, min_frequency and lowercase"
            )
        check_limits(size, min_frequency)
        if not isinstance(lowercase, bool):
            raise DataError(
                f"the tokenizer's lowercase must be true or false, not {lowercase!r} (dataset.tokenizer.lowercase)"
            )
        texts = (text.lower() for text in texts) if lowercase else texts
        if kind in ("bpe", "wordpiece"):
            model = _train_subwords(texts, kind, size or SUBWORD_SIZE, min_frequency)
            return cls(
                kind, [model.id_to_token(index) for index in range(model.get_vocab_size())], lowercase, model.to_str()
            )
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_characters(text) if kind == "characters" else WORD.findall(text))
        frequent = [token for token, count in counts.items() if count >= min_frequency and token not in SPECIAL]
        if size is not None:  # the most frequent, ties in alphabetical order
            frequent = sorted(frequent, key=lambda token: (-counts[token], token))[: size - len(SPECIAL)]
        return cls(kind, [*SPECIAL, *sorted(frequent)], lowercase)

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def loses_spaces(self) -> bool:
        """Whether `decode` cannot know where a text had spaces."""
        return self.kind in ("words", "wordpiece")

    def encode(self, text: str) -> list[int]:
        """Ids of the text's tokens, without BOS and EOS."""
        if self.kind == "characters":
            return self.encode_array(text).tolist()
        text = text.lower() if self.lowercase else text
        if self.kind == "words":
            return [self.ids.get(word, UNK) for word in WORD.findall(text)]
        return self._subwords.encode(text, add_special_tokens=False).ids

    def encode_array(self, text: str) -> np.ndarray:
        """`encode` as int32 (length,); for characters a table look-up without Python objects, suited to texts of any size."""
        if self.kind != "characters":
            return np.asarray(self.encode(text), dtype=np.int32)
        if self._table is None:
            self._table = np.full(_CODE_POINTS, UNK, dtype=np.int32)
            for token, index in list(self.ids.items())[len(SPECIAL) :]:
                self._table[ord(token)] = index
        text = text.lower() if self.lowercase else text
        return self._table[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)]

    def offsets(self, text: str) -> np.ndarray:
        """(tokens, 2) int64: the first character of each token of `encode` and the one after its last."""
        if self.kind == "characters":
            return np.stack([np.arange(len(text)), np.arange(1, len(text) + 1)], axis=1)
        text = text.lower() if self.lowercase else text
        if self.kind == "words":
            found = [match.span() for match in WORD.finditer(text)]
        else:
            found = self._subwords.encode(text, add_special_tokens=False).offsets
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids; special tokens are left out. Words are joined by blanks."""
        kept = [index for index in map(int, ids) if index >= len(SPECIAL)]
        if self._subwords is not None:
            return self._subwords.decode(kept)
        return ("" if self.kind == "characters" else " ").join(self.vocabulary[index] for index in kept)

    def extended(self, words: Iterable[str]) -> Tokenizer:
        """This tokenizer of words with further words after its own."""
        known = (word.lower() if self.lowercase else word for word in words)
        return Tokenizer(self.kind, list(dict.fromkeys([*self.vocabulary, *known])), self.lowercase, self.model)

    @property
    def state(self) -> dict[str, Any]:
        """Plain containers, for `from_state`."""
        return {"kind": self.kind, "vocabulary": self.vocabulary, "lowercase": self.lowercase, "model": self.model}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Tokenizer:
        """The tokenizer with this `state`."""
        return cls(**state)


def check_limits(size: Any, min_frequency: Any) -> None:
    """Raises DataError for limits of a vocabulary that are no whole numbers of at least 1, or a size without room for text."""
    for name, value in (("size", size), ("min_frequency", min_frequency)):
        if name == "size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(
                f"the tokenizer's {name} must be a whole number >= 1, not {value!r} (dataset.tokenizer.{name})"
            )
    if size is not None and size <= len(SPECIAL):
        raise DataError(f"a vocabulary of {size} tokens holds nothing but {', '.join(SPECIAL)}: give a larger size")


def _characters(text: str) -> str | dict[str, int]:
    """Argument for `Counter.update`. A long text is counted by its code points, ten times as fast as by its letters."""
    if len(text) < 100_000:
        return text
    counts = np.bincount(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32))
    return {chr(code): int(counts[code]) for code in counts.nonzero()[0]}


def _train_subwords(texts: Iterable[str], kind: str, size: int, min_frequency: int) -> Any:
    """A trained tokenizer of the library `tokenizers`."""
    lib = _library()
    if kind == "bpe":
        tokenizer = lib.Tokenizer(lib.models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = lib.decoders.ByteLevel()
        alphabet = lib.pre_tokenizers.ByteLevel.alphabet()
        make = lib.trainers.BpeTrainer
    else:
        tokenizer = lib.Tokenizer(lib.models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer = lib.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = lib.decoders.WordPiece()
        alphabet = []
        make = lib.trainers.WordPieceTrainer
    trainer = make(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _library() -> Any:
    """Imported late because characters and words do not need it."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers  # noqa: F401

    return tokenizers
