"""A dataset through the preprocessor that a model would have for it."""

from __future__ import annotations

from mlrun.data.preprocess.preprocessor import make_preprocessor


def spec(data, **options):
    """What a network may ask for by name."""
    return make_preprocessor(None, data, **options).spec


def encoded(data, part, **options):
    """Name -> array of a part, as a network is fed."""
    return make_preprocessor(None, data, **options).encode(data.examples(part))


def loader(data, part, **options):
    """Batches of a part."""
    return data.loader(part, make_preprocessor(None, data), **options)
