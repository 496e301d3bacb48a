"""N-grams: probabilities add up, equal the formulas, and fall as they should."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mlrun.estimators.ngram import NGram

TOKENS = np.random.default_rng(0).integers(4, 9, 300)


@pytest.mark.parametrize("smoothing", ["kneser_ney", "witten_bell", "add_k"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_add_up_and_are_those_of_the_text(smoothing, order):
    model = NGram(9, order, smoothing).fit(TOKENS)
    for context in itertools.product(range(3, 9), repeat=2):
        assert model.distribution(list(context)).sum() == pytest.approx(1)
    text = np.random.default_rng(1).integers(3, 9, 40)
    each = [np.log(model.distribution(text[:at].tolist())[text[at]]) for at in range(1, len(text))]
    np.testing.assert_allclose(model.log_probabilities(text), each)


def test_add_k_by_hand():
    model = NGram(6, 2, "add_k", k=1.0).fit(np.array([4, 5, 4, 4, 5]))
    assert model.distribution([4])[[4, 5, 0]] == pytest.approx([2 / 9, 3 / 9, 1 / 9])
    assert model.parameters == 2 + 3
    # after a token that never occurred, the counts of shorter sequences say nothing
    assert model.distribution([3]) == pytest.approx([1 / 6] * 6)
    assert np.exp(model.log_probabilities(np.array([4, 3, 4, 5]))) == pytest.approx([1 / 9, 1 / 6, 3 / 9])


def test_kneser_ney_counts_contexts_not_occurrences():
    """ "Francisco" is frequent, but follows one word only: after an unseen context it is less likely than a rarer, freer word."""
    san, francisco, free, *others = range(4, 12)
    text = [san, francisco] * 10 + [token for other in others for token in (other, free)]
    model = NGram(13, 2).fit(np.array(text))
    assert model.distribution([12])[free] > model.distribution([12])[francisco]
    assert model.distribution([san])[francisco] > 0.8


def test_higher_orders_learn_more_of_a_real_text():
    from mlrun.data.datasets.text_file import TextFile
    from mlrun.data.preprocess.preprocessor import make_preprocessor

    data = TextFile(None, "language_modeling", "text_file", 1)
    preprocessor = make_preprocessor(None, data)
    train, val = (data.stream(part, preprocessor).tokens for part in ("train", "val"))
    size = preprocessor.spec["vocab_size"]
    losses = [-NGram(size, order).fit(train).log_probabilities(val).mean() for order in (1, 2, 3, 5)]
    assert losses[0] > losses[1] + 0.4 > losses[2] + 0.7 > losses[3] + 0.9
    shuffled = np.random.default_rng(0).permutation(train)
    assert -NGram(size, 3).fit(shuffled).log_probabilities(val).mean() > losses[0] - 0.1


@pytest.mark.parametrize("options", [{"order": 0}, {"smoothing": "none"}, {"k": 0}])
def test_bad_settings(options):
    with pytest.raises(ValueError):
        NGram(9, **options)
