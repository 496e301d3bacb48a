"""Tokenizers: text there and back, special tokens, vocabularies of a given size."""

from __future__ import annotations

import json
import pydoc_data.topics
import sys
import unicodedata

import numpy as np
import pytest

from mlrun.data.examples import Examples
from mlrun.data.features import Text
from mlrun.data.preprocess.text_features import TextFeatures
from mlrun.data.preprocess.tokenizer import BOS, EOS, KINDS, PAD, SPECIAL, UNK, Tokenizer
from mlrun.data.preprocess.word_pattern import WORD
from mlrun.data.preprocess.words import WordPreprocessor
from mlrun.errors import DataError

TEXTS = list(pydoc_data.topics.topics.values())[:20]


@pytest.mark.parametrize("kind", KINDS)
def test_known_text_comes_back(kind):
    tokenizer = Tokenizer.train(TEXTS, kind, size=None if kind in ("characters", "words") else 500)
    assert tokenizer.vocabulary[:4] == list(SPECIAL) and (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    ids = tokenizer.encode(TEXTS[3])
    assert min(ids) >= 4 and max(ids) < len(tokenizer)
    text = tokenizer.decode([BOS, *ids, EOS, PAD, PAD])
    if kind in ("characters", "bpe"):
        assert text == TEXTS[3]
    else:
        assert "".join(text.split()) == "".join(TEXTS[3].split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_survives_json(kind):
    tokenizer = Tokenizer.train(TEXTS, kind, size=400, lowercase=True)
    again = Tokenizer.from_state(json.loads(json.dumps(tokenizer.state)))
    assert len(again) == len(tokenizer) <= 400
    assert again.encode("The Quick brown fox, naïve 漢") == tokenizer.encode("The Quick brown fox, naïve 漢")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है", "।"]),
        ("cafe\u0301's don't", ["cafe\u0301's", "don't"]),
        ("שָׁלוֹם مَرْحَبًا می\u200cخواهم", ["שָׁלוֹם", "مَرْحَبًا", "می\u200cخواهم"]),
        ("I \u2764\ufe0f \U0001f469\u200d\U0001f467!", ["I", "\u2764\ufe0f", "\U0001f469\u200d\U0001f467", "!"]),
    ],
)
def test_marks_belong_to_their_letters(text, words):
    """Before, each vowel sign of Hindi was a word."""
    tokenizer = Tokenizer.train([text], "words")
    assert [tokenizer.vocabulary[index] for index in tokenizer.encode(text)] == words
    assert [text[start:end] for start, end in tokenizer.offsets(text)] == words
    features = TextFeatures().fit([text])
    assert set(features.get_feature_names_out()) == {word.lower() for word in words}


def test_every_mark_of_unicode_stays_with_its_letter():
    everything = map(chr, range(sys.maxunicode + 1))
    marks = [one for one in everything if unicodedata.ucd_3_2_0.category(one)[0] == unicodedata.category(one)[0] == "M"]
    assert len(marks) > 500
    assert [mark for mark in marks if WORD.findall(f"a{mark}b c") != [f"a{mark}b", "c"]] == []
    assert WORD.findall("a_1, b-2") == ["a_1", ",", "b", "-", "2"]


def test_rare_and_unseen_tokens_are_unknown():
    words = Tokenizer.train(["the cat the hat", "the dog's cat"], "words", min_frequency=2)
    assert words.vocabulary == [*SPECIAL, "cat", "the"]
    assert words.encode("the dog's cat") == [5, UNK, 4]
    assert Tokenizer.train(["aabbc"], "characters", size=6).vocabulary == [*SPECIAL, "a", "b"]
    assert Tokenizer.train(["ab"], "characters").encode("aé漢b") == [4, UNK, UNK, 5]
    bytewise = Tokenizer.train(["ab"], "bpe", size=300)
    assert bytewise.decode(bytewise.encode("aé漢b")) == "aé漢b"  # no text is unknown to bytes


def test_special_tokens_in_a_text_are_text():
    for kind in KINDS:
        tokenizer = Tokenizer.train(["a <pad> b <eos>"], kind)
        assert PAD not in tokenizer.encode("a <pad> b") and EOS not in tokenizer.encode("<eos>")


def test_arrays_are_the_same_ids():
    for kind in KINDS:
        tokenizer = Tokenizer.train(TEXTS, kind, size=600)
        array = tokenizer.encode_array(TEXTS[0])
        assert array.dtype == np.int32 and array.tolist() == tokenizer.encode(TEXTS[0])


def test_long_and_short_texts_are_counted_alike():
    text = "naïve " + "".join(TEXTS) * 3
    assert len(text) > 100_000 > max(map(len, TEXTS))
    long, short = (Tokenizer.train(texts, "characters", size=30) for texts in ([text], text.splitlines(keepends=True)))
    assert long.state == short.state


def test_mistakes_are_named():
    with pytest.raises(DataError, match="characters, words, bpe, wordpiece"):
        Tokenizer.train(["a"], "letters")
    with pytest.raises(DataError, match="larger size"):
        Tokenizer.train(["a"], "words", size=3)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"size": 3}, "holds nothing but"),
        ({"min_frequency": "x"}, "min_frequency must be a whole number >= 1, not 'x'"),
    ],
)
def test_word_vectors_have_the_same_limits(limits, message):
    """A size of three words kept all but the last one."""
    words = WordPreprocessor({"text": Text()}, {}, {"min_frequency": 1, **limits})
    with pytest.raises(DataError, match=message):
        words.fit(Examples({"text": np.array(["a b c d e f"], dtype=object)}, {"text": Text()}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "xxx"}, "size must be a whole number >= 1, not 'xxx' .dataset.tokenizer.size"),
        ({"min_frequency": 1.5}, "min_frequency must be a whole number"),
        ({"lowercase": "no"}, "lowercase must be true or false"),
        ({"sise": 100}, "a tokenizer has no sise"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        Tokenizer.train(["a b"], "words", **settings)
