"""Evaluator of word vectors: do the similarities of words agree with human judgements?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlrun.data.readers.word_files import PAIRS, find_file, read_pairs
from mlrun.data.word_vectors import vectors_of
from mlrun.evaluation.evaluator import Better, Evaluator


class WordSimilarity(Evaluator):
    """Spearman's rank correlation of cosine similarities with the scores of WordSim-353, SimLex-999 and MEN, for each that is found.

    `wordsim353_found` and so on: the share of its pairs whose words both have vectors; the others are left out. If all similarities are
    equal, as among one-hot vectors, the correlation is 0.

    Args:
        files: set -> file, in addition to those found in the data directory or in gensim's test data.
        every_epoch: also after each epoch.
    """

    metrics = {
        **dict.fromkeys(PAIRS, Better.LARGER),
        **{f"{name}_found": Better.NEITHER for name in PAIRS},
    }
    needs_predictions = False

    def __init__(self, files: dict[str, str] | None = None, every_epoch: bool = False):
        self.files, self.every_epoch = files or {}, every_epoch

    def compute(self) -> dict[str, float]:
        vectors, found = vectors_of(self.subject.model), {}
        data_dir = getattr(self.subject.data, "data_dir", None)
        for name, files in PAIRS.items():
            path = self.files.get(name) or find_file(name, files, data_dir)
            if path is None:
                continue
            pairs = read_pairs(Path(path))
            known = [pair for pair in pairs if pair[0] in vectors.index and pair[1] in vectors.index]
            found[f"{name}_found"] = len(known) / len(pairs)
            if len(known) > 2:
                similar = vectors.similarity([(first, second) for first, second, _ in known])
                found[name] = rank_correlation(similar, np.array([score for _, _, score in known]))
        return found


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation, the mean rank for ties; 0 if all values of a side are equal."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)
