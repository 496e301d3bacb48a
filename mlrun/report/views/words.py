"""Words of a model of word vectors on two components."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlrun.data.module import DataModule
from mlrun.data.word_vectors import vectors_of
from mlrun.errors import ConfigError
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

SEEDS, NEIGHBOURS, SKIPPED = (
    8,
    7,
    50,
)  # words with their neighbours, if none are given: frequent ones after the most frequent


class Words(View):
    """Selected words on the first two components of all of them, a colour for each group.

    Args:
        words: to show, each with its nearest words as one group; None: some frequent ones.
        neighbours: of each word.
        method: "pca" or "tsne" (van der Maaten and Hinton 2008).
    """

    part = ""  # words of the model, not rows of the data

    def __init__(
        self, words: Sequence[str] | None = None, neighbours: int = NEIGHBOURS, method: Literal["pca", "tsne"] = "pca"
    ):
        if method not in ("pca", "tsne"):
            raise ConfigError(f"model.figures: method={method}: choose pca or tsne")
        self.words, self.neighbours, self.method = words, neighbours, method

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.points import labelled_points

        vectors = vectors_of(learner)
        groups: dict[str, str] = {}  # word -> the word to whose group it belongs
        shown = 0
        for word in self._seeds(vectors.words):
            if word not in vectors.index or word in groups:
                continue
            near = [word, *(one for one, score in vectors.neighbours(word, self.neighbours) if score > 0)]
            groups |= {one: word for one in near if one not in groups}
            shown += 1
            if self.words is None and shown == SEEDS:
                break
        if len(groups) >= 3:
            places = self._places(vectors.directions[[vectors.index[word] for word in groups]])
            where = "a t-SNE map" if self.method == "tsne" else "two principal components"
            title = f"Words (bold) and their nearest words, on {where}"
            yield "words", labelled_points(places, list(groups), list(groups.values()), title)

    def _seeds(self, words: Sequence[str]) -> Sequence[str]:
        if self.words is not None:
            return self.words
        return [word for word in words[SKIPPED:] if len(word) > 3] or words

    def _places(self, rows: np.ndarray) -> np.ndarray:
        """(words, width) -> (words, 2)."""
        if self.method == "tsne":
            from sklearn.manifold import TSNE

            perplexity = min(12.0, (len(rows) - 1) / 3)
            return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(rows)
        from sklearn.decomposition import PCA

        return PCA(2, random_state=0).fit_transform(rows)
