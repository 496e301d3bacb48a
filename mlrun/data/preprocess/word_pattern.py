"""What a word of a text is, for tokenizers of words, counts for estimators and search."""

from __future__ import annotations

import regex

# Combining marks belong to the letter before them: accents, vowel signs of Indic scripts, points of Hebrew and Arabic. Python's \w leaves
# them out. A joiner (U+200C, U+200D) stands inside a word, as in Persian, and between the parts of one picture.
_RUN = r"\w(?:[\w\p{M}]|[\u200c\u200d](?=\w))*"
_SYMBOL = r"[^\w\s]\p{M}*"
# "don't" is one word, a punctuation mark another
WORD = regex.compile(rf"{_RUN}(?:['’]{_RUN})*|{_SYMBOL}(?:\u200d{_SYMBOL})*")


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text, in order."""
    return WORD.findall(text)
