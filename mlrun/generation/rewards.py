"""Rewards of generated texts: (sources, texts, references) -> a number for each text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

Reward = Callable[[Sequence[str], Sequence[str], Sequence[str]], np.ndarray]
_SUM = re.compile(r"(\d+)\+(\d+)")


class ExactMatch:
    """1 if the text equals its reference, ignoring white space, else 0."""

    def __call__(self, sources: Sequence[str], texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        return np.array(
            [" ".join(a.split()) == " ".join(b.split()) for a, b in zip(texts, references)], dtype=np.float32
        )


class SumIsRight:
    """1 if the text is the sum that the source asks for ("535+61"), else 0; needs no reference."""

    def __call__(self, sources: Sequence[str], texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        found = []
        for source, text in zip(sources, texts):
            asked = _SUM.fullmatch(source)
            found.append(bool(asked) and text == str(int(asked[1]) + int(asked[2])))
        return np.array(found, dtype=np.float32)


class SentenceBleu:
    """BLEU of the text against its reference from 0 to 1 by sacrebleu, over the orders that the text has."""

    def __init__(self) -> None:
        from sacrebleu.metrics import BLEU

        self._bleu = BLEU(effective_order=True)

    def __call__(self, sources: Sequence[str], texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        scores = [self._bleu.sentence_score(text, [one]).score / 100 for text, one in zip(texts, references)]
        return np.array(scores, dtype=np.float32)
