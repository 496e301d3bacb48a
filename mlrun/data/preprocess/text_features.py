"""Texts as rows of numbers for estimators: counts, presence or TF-IDF of words or characters and their n-grams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from mlrun.data.features import Text
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.text import as_texts
from mlrun.errors import DataError

if TYPE_CHECKING:
    from mlrun.data.examples import Examples

WORD = r"\w+(?:['’]\w+)*|[^\w\s]"  # as the tokenizer has it: single letters and punctuation count too


class TextFeatures(TransformerMixin, BaseEstimator):
    """Texts -> sparse (rows, features), of n-grams that occur in at least `min_frequency` training texts.

    weighting: "counts", "binary" (1 where it occurs), "tfidf" (rows of length 1). level: "words", or "characters" with a blank at either end of a word.
    ngrams: [shortest, longest].
    """

    def __init__(self, weighting="counts", level="words", ngrams=(1, 1), min_frequency=1, lowercase=True):
        self.weighting, self.level, self.ngrams, self.min_frequency, self.lowercase = (
            weighting,
            level,
            ngrams,
            min_frequency,
            lowercase,
        )

    def fit(self, x, y=None):
        if self.weighting not in ("counts", "binary", "tfidf"):
            raise DataError(f"dataset.features.weighting={self.weighting}: choose counts, binary or tfidf")
        if self.level not in ("words", "characters"):
            raise DataError(f"dataset.features.level={self.level}: choose words or characters")
        settings = dict(ngram_range=tuple(self.ngrams), min_df=self.min_frequency, lowercase=self.lowercase)
        settings |= dict(analyzer="word", token_pattern=WORD) if self.level == "words" else dict(analyzer="char_wb")
        if self.weighting == "tfidf":
            self.vectorizer_ = TfidfVectorizer(sublinear_tf=True, **settings)
        else:
            self.vectorizer_ = CountVectorizer(binary=self.weighting == "binary", **settings)
        self.vectorizer_.fit(as_texts(x))
        return self

    def transform(self, x):
        return self.vectorizer_.transform(as_texts(x))

    def get_feature_names_out(self, input_features=None):
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
        """Of the matrix's columns."""
        return [str(name) for name in self.counter.get_feature_names_out()]
