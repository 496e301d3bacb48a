"""Texts as rows of numbers for estimators: counts, presence or TF-IDF of words or characters and their n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from mlrun.data.features import Text
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.word_pattern import words_of
from mlrun.errors import DataError

if TYPE_CHECKING:
    from mlrun.data.examples import Examples


class TextFeatures(TransformerMixin, BaseEstimator):
    """Texts -> sparse (rows, features) of n-grams that occur in at least `min_frequency` training texts.

    Args:
        weighting: "counts", "binary" (1 where it occurs), "tfidf" (rows of length 1).
        level: "words", or "characters" with a blank at either end of a word.
        ngrams: shortest and longest n-gram.
        min_frequency: number of training texts in which an n-gram must occur.
        lowercase: whether texts are lowercased.
    """

    def __init__(
        self,
        weighting: str = "counts",
        level: str = "words",
        ngrams: Sequence[int] = (1, 1),
        min_frequency: int = 1,
        lowercase: bool = True,
    ):
        self.weighting, self.level, self.ngrams = weighting, level, ngrams
        self.min_frequency, self.lowercase = min_frequency, lowercase

    def fit(self, x: Any, y: Any = None) -> TextFeatures:
        if self.weighting not in ("counts", "binary", "tfidf"):
            raise DataError(f"dataset.features.weighting={self.weighting}: choose counts, binary or tfidf")
        if self.level not in ("words", "characters"):
            raise DataError(f"dataset.features.level={self.level}: choose words or characters")
        settings: dict[str, Any] = dict(
            ngram_range=tuple(self.ngrams), min_df=self.min_frequency, lowercase=self.lowercase
        )
        settings |= dict(tokenizer=words_of, token_pattern=None) if self.level == "words" else dict(analyzer="char_wb")
        if self.weighting == "tfidf":
            self.vectorizer_ = TfidfVectorizer(sublinear_tf=True, **settings)
        else:
            self.vectorizer_ = CountVectorizer(binary=self.weighting == "binary", **settings)
        try:
            self.vectorizer_.fit(as_texts(x))
        except ValueError as error:  # "empty vocabulary", "no terms remain", or an n-gram of length 0
            raise DataError(f"dataset.features: {str(error).partition(';')[0]} in the training texts") from None
        return self

    def transform(self, x: Any) -> Any:
        return self.vectorizer_.transform(as_texts(x))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        return self.vectorizer_.get_feature_names_out()


class TextFeaturesEncoder(Encoder):
    """Texts for estimators. features: the arguments of `TextFeatures`."""

    key = "features"

    def __init__(self, feature: Text, features: Mapping[str, Any] | None = None, **settings: Any):
        super().__init__(feature)
        self.counter = TextFeatures(**(features or {}))

    def fit(self, column: Any) -> None:
        self.counter.fit(column)

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: self.counter.transform(column)}

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return [str(name) for name in self.counter.get_feature_names_out()]
