"""BERT's tokenizer: pieces of words, with the special tokens of the published vocabularies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.errors import DataError

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNK, CLS, SEP, MASK)
KIND = "bert"  # of a state
CHUNK = 512  # texts that are encoded at once


class WordPiece:
    """A vocabulary of word pieces (Schuster and Nakajima 2012) and BERT's rules: white space and punctuation separate words, and a word is
    divided into the longest pieces that the vocabulary has. Special tokens in a text are ordinary characters.

    Args:
        vocabulary: tokens in the order of their ids, among them the `SPECIAL` ones.
        lowercase: whether capital letters and accents are removed.
    """

    def __init__(self, vocabulary: Sequence[str], lowercase: bool = True):
        self.vocabulary, self.lowercase = list(vocabulary), bool(lowercase)
        self.ids = {token: index for index, token in enumerate(self.vocabulary)}
        absent = [token for token in SPECIAL if token not in self.ids]
        if absent:
            raise DataError(f"a vocabulary of word pieces needs the token{'s' * (len(absent) > 1)} {', '.join(absent)}")
        self.pad, self.unk, self.cls, self.sep, self.mask = (self.ids[token] for token in SPECIAL)
        self.special = frozenset((self.pad, self.unk, self.cls, self.sep, self.mask))
        self._library = _tokenizer(self.ids, self.lowercase)

    @classmethod
    def train(cls, texts: Iterable[str], size: int = 8000, min_frequency: int = 2, lowercase: bool = True) -> WordPiece:
        """A vocabulary of at most `size` tokens, each seen `min_frequency` times. Raises DataError for a size without room for text."""
        from tokenizers import trainers

        for name, value in (("size", size), ("min_frequency", min_frequency)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"model.preprocessor.tokenizer.{name}={value!r}: give a whole number of at least 1")
        if size <= len(SPECIAL):
            raise DataError(
                f"model.preprocessor.tokenizer.size={size}: {len(SPECIAL)} tokens are special; give a larger size"
            )
        given = list(texts)

        def learned(first: Sequence[str], most: int) -> list[str]:
            learner = _tokenizer({token: index for index, token in enumerate(SPECIAL)}, lowercase)
            trainer = trainers.WordPieceTrainer(
                vocab_size=most, min_frequency=min_frequency, special_tokens=list(first), show_progress=False
            )
            learner.train_from_iterator(given, trainer)
            return [learner.id_to_token(index) for index in range(learner.get_vocab_size())]

        # The library numbers single characters within words in the order of a hash table, another one each time, and ties between
        # pairs go by these numbers. So the characters are collected first.
        characters = sorted(set(learned(SPECIAL, 1)) - set(SPECIAL))
        return cls(learned([*SPECIAL, *characters], size), lowercase)

    @classmethod
    def from_file(cls, path: Path, lowercase: bool = True) -> WordPiece:
        """The vocabulary of a published model, `vocab.txt`, one token per line. Raises DataError."""
        try:
            # not splitlines(): a token can be a line separator of Unicode, and all ids after it would be wrong
            return cls(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), lowercase)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as a vocabulary ({error})") from None

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """(tokens,) int32, without special tokens."""
        return np.array(self._library.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def encode_all(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """`encode` of each text, several at a time."""
        rest = iter(texts)
        while chunk := list(islice(rest, CHUNK)):
            for one in self._library.encode_batch_fast(chunk, add_special_tokens=False):
                yield np.array(one.ids, dtype=np.int32)

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(tokens,) ids, and (tokens, 2) int64: the first character of each token and the one after its last."""
        found = self._library.encode(text, add_special_tokens=False)
        return np.array(found.ids, dtype=np.int32), np.array(found.offsets, dtype=np.int64).reshape(-1, 2)

    def encode_words(self, words: Sequence[str]) -> list[np.ndarray]:
        """The pieces of each of several words, (pieces,) int32; [UNK] for a word of which nothing remains."""
        pieces = self._library.encode_batch_fast(list(words), add_special_tokens=False)
        return [np.array(one.ids or [self.unk], dtype=np.int32) for one in pieces]

    def encode_masked(self, text: str) -> np.ndarray:
        """As `encode`, but [MASK] in the text is that token."""
        parts: list[np.ndarray] = []
        for part in text.split(MASK):
            parts += [np.array([self.mask], dtype=np.int32), self.encode(part)]
        return np.concatenate(parts[1:])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids without special tokens; pieces are joined, words separated by blanks."""
        text = " ".join(self.vocabulary[int(index)] for index in ids if int(index) not in self.special)
        return text.replace(" ##", "")

    @property
    def state(self) -> dict[str, Any]:
        """Plain containers, for `from_state`."""
        return {"kind": KIND, "vocabulary": self.vocabulary, "lowercase": self.lowercase}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> WordPiece:
        """The tokenizer with this `state`."""
        return cls(state["vocabulary"], state["lowercase"])


def _tokenizer(ids: dict[str, int], lowercase: bool) -> Any:
    """A tokenizer of the library `tokenizers` without special tokens of its own."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordPiece(ids, unk_token=UNK, max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)  # accents go with capital letters
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made
