"""Evaluator of captions: exact matches, BLEU, CIDEr."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from mlrun.data.features import Caption, Feature
from mlrun.data.preprocess.word_pattern import WORD
from mlrun.evaluation import metrics
from mlrun.evaluation.evaluator import Better
from mlrun.evaluation.translation import Translation

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # of the Gaussian penalty for a difference in length

Weights = list[dict[tuple[str, ...], float]]


class Captions(Translation):
    """Of `TextPredictions` of an image."""

    metrics = {"exact_match": Better.LARGER, "bleu": Better.LARGER, "cider": Better.LARGER}

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Caption)

    def compute(self) -> dict[str, float]:
        found = metrics.translation(self._texts, self._references, by_word=self._by_word)
        return {**found, "cider": cider(self._texts, self._references)}


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D of a corpus, from 0 to 10 (Vedantam, Zitnick and Parikh 2015, arXiv:1411.5726, section 5).

    The similarity of tf-idf vectors of n-grams, n from 1 to 4, with counts clipped to those of the reference and a penalty for another
    length; the mean over n, references and captions. An n-gram that occurs in the references of most images counts little.

    Args:
        captions: one for each image.
        references: one or several for each image.
    """
    if not captions:
        return 0.0
    counted = [[_ngrams(text) for text in several] for several in references]
    images = Counter(gram for several in counted for gram in set().union(*(sum(one, Counter()) for one in several)))
    total = math.log(len(counted))

    def weights(counts: Sequence[Counter[tuple[str, ...]]]) -> Weights:
        return [
            {gram: count * (total - math.log(max(1, images[gram]))) for gram, count in one.items()} for one in counts
        ]

    score = 0.0
    for caption, several in zip(captions, counted):
        counts = _ngrams(caption)
        own = weights(counts)
        for reference in several:
            distance = counts[0].total() - reference[0].total()
            penalty = math.exp(-(distance**2) / (2 * SIGMA**2))
            score += penalty * _similarity(own, weights(reference)) / len(several)
    return 10 * score / len(captions)


def _ngrams(text: str) -> list[Counter[tuple[str, ...]]]:
    """Counts of the n-grams of a text's words, for n from 1 to LONGEST. Punctuation marks are left out, as in COCO's evaluation."""
    words = [word for word in WORD.findall(text.lower()) if word[0].isalnum()]
    return [Counter(zip(*(words[at:] for at in range(n)))) for n in range(1, LONGEST + 1)]


def _similarity(own: Weights, theirs: Weights) -> float:
    """The mean cosine over n, where an n-gram counts at most as much as in the reference."""
    total = 0.0
    for mine, wanted in zip(own, theirs):
        product = sum(min(value, wanted[gram]) * wanted[gram] for gram, value in mine.items() if gram in wanted)
        lengths = math.hypot(*mine.values()) * math.hypot(*wanted.values())
        total += product / lengths if lengths else 0.0
    return total / LONGEST
