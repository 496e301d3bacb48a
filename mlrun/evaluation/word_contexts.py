"""Evaluator of word vectors that needs no judgements: are words that stand together in unseen text more similar than words that do not?"""

from __future__ import annotations

import numpy as np

from mlrun.data.word_vectors import WordVectors, vectors_of
from mlrun.evaluation.evaluator import Better, Evaluator

PAIRS, SEED = 20_000, 0
WINDOW = 5  # words between which two words stand together at most


class WordContexts(Evaluator):
    """`context_auc`: the probability that two words at most 5 apart in the part have a larger cosine similarity than one of them and a word
    from another place of the part; ties count half. One-hot vectors: 0.5. Pairs of the same word are left out."""

    metrics = {"context_auc": Better.LARGER}
    needs_predictions = False

    def __init__(self, every_epoch: bool = False):
        self.every_epoch = every_epoch

    def compute(self) -> dict[str, float]:
        model, random = self.subject.model, np.random.default_rng(SEED)
        preprocessor = model.preprocessor
        corpus = preprocessor.corpus(preprocessor.column(self.subject.data.examples(self.subject.part)))
        words = len(corpus.tokens)
        if words < 2 * WINDOW:
            return {}
        place = random.integers(words - WINDOW, size=PAIRS)
        near = place + random.integers(1, WINDOW + 1, size=PAIRS)
        far = random.integers(words, size=PAIRS)
        tokens, texts = corpus.tokens, corpus.texts
        fits = (texts[place] == texts[near]) & (tokens[place] != tokens[near]) & (tokens[place] != tokens[far])
        if not fits.any():
            return {}
        first, together, apart = (tokens[rows[fits]] - preprocessor.offset for rows in (place, near, far))
        vectors = vectors_of(model)
        return {"context_auc": area(_similar(vectors, first, together), _similar(vectors, first, apart))}


def _similar(vectors: WordVectors, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (vectors.directions[first] * vectors.directions[second]).sum(1)


def area(larger: np.ndarray, smaller: np.ndarray) -> float:
    """The probability that a value of the first kind exceeds one of the second: the area under the ROC curve."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([larger, smaller]))[: len(larger)]
    return float((ranks.sum() - len(larger) * (len(larger) + 1) / 2) / (len(larger) * len(smaller)))
