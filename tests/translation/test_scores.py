"""BLEU and what is written about a translation."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu

from mlrun.data.examples import Examples
from mlrun.data.features import Text
from mlrun.data.predictions import TextPredictions
from mlrun.data.preprocess.pairs import PairPreprocessor
from mlrun.evaluation import metrics as measures
from mlrun.evaluation.translation import Translation
from mlrun.report.translation import attention_maps, beam_errors, translations

REFERENCES = [
    ["The cat is on the mat.", "There is a cat on the mat."],
    ["It is raining today."],
    ["He has gone home, has he?"],
]
WRITTEN = ["The cat the cat on the mat.", "It is raining today.", "He is gone, has he?"]


def test_clipped_precision_of_the_textbook():
    def words(text):
        return text.lower().rstrip(".").split()

    references = [words(text) for text in REFERENCES[0]]
    assert measures.clipped_precision(words(WRITTEN[0]), references, 2) == (4, 6)
    assert measures.clipped_precision(words(WRITTEN[0]), references, 1) == (5, 7)
    # Papineni et al., example 2
    assert measures.clipped_precision("the the the the the the the".split(), references, 1) == (2, 7)


def test_clipped_precision_is_what_bleu_counts():
    counted = sacrebleu.metrics.BLEU(lowercase=True, tokenize="none", effective_order=True).sentence_score(
        "the cat the cat on the mat", ["the cat is on the mat", "there is a cat on the mat"]
    )
    assert (counted.counts[1], counted.totals[1]) == (4, 6)
    for n in range(1, 5):
        ours = measures.clipped_precision(
            "the cat the cat on the mat".split(),
            [reference.split() for reference in ("the cat is on the mat", "there is a cat on the mat")],
            n,
        )
        assert ours == (counted.counts[n - 1], counted.totals[n - 1])


def test_bleu_equals_sacrebleu():
    single = [one[:1] for one in REFERENCES]
    assert measures.corpus_bleu(WRITTEN, single) == pytest.approx(
        sacrebleu.corpus_bleu(WRITTEN, [[one[0] for one in single]]).score
    )
    # one has two references, the others one
    assert measures.corpus_bleu(WRITTEN, REFERENCES) > measures.corpus_bleu(WRITTEN, single)
    assert measures.corpus_bleu([one[0] for one in REFERENCES], REFERENCES) == pytest.approx(100)
    scored = measures.translation(WRITTEN, REFERENCES)
    assert scored["exact_match"] == pytest.approx(1 / 3) and scored["bleu"] == measures.corpus_bleu(WRITTEN, REFERENCES)


@pytest.mark.parametrize("kind", ["words", "wordpiece"])
def test_spaces_that_a_tokenizer_loses_make_no_mistake(kind):
    """A perfect translation by words was no exact match wherever there is a punctuation mark."""
    texts = np.array(['Well, it\'s "red" (or not): well-known!', "no"], dtype=object)
    examples = Examples({"source": texts, "target": [[one] for one in texts]}, {"source": Text(), "target": Text()})
    preprocessor = PairPreprocessor({"source": Text()}, {"target": Text()}, {"kind": kind})
    preprocessor.fit(examples)
    perfect = preprocessor.decode({"sequences": [preprocessor.target_ids(text)[1:] for text in texts]})
    assert perfect.texts[0] != texts[0] and not perfect.mistakes(examples["target"]).any()
    evaluator = Translation()
    evaluator.begin(SimpleNamespace(data=SimpleNamespace(targets=["target"], spec={"measure": "exact_match"})))
    evaluator.update({}, examples, perfect)
    assert evaluator.compute() == {"exact_match": 1.0}
    wrong = preprocessor.decode({"sequences": [preprocessor.target_ids("well it's red")[1:]] * 2})
    assert wrong.mistakes(examples["target"]).all()
    assert TextPredictions(["2001 - 1"]).mistakes([["2001-1"]]).all()  # characters include spaces


def test_tables_and_maps(tmp_path):
    sources = ["die Katze", "es regnet", "er ging"]
    mistakes = TextPredictions(WRITTEN).mistakes(REFERENCES)
    translations(sources, WRITTEN, REFERENCES, mistakes).save(tmp_path / "translations.png")
    rows = list(csv.DictReader(open(tmp_path / "translations.csv", encoding="utf-8")))
    assert [row["right"] for row in rows] == ["0", "1", "0"] and rows[0]["reference"].count(" | ") == 1
    first = [references[0] for references in REFERENCES]
    beam_errors(sources[::2], WRITTEN[::2], first[::2], [-0.5, -0.9], [-0.2, -1.5]).save(tmp_path / "errors.png")
    rows = list(csv.DictReader(open(tmp_path / "errors.csv", encoding="utf-8")))
    assert [(row["source"], row["fault"]) for row in rows] == [("die Katze", "search"), ("er ging", "model")]
    attention_maps(
        [(["a", "b", "<eos>"], ["x", "<eos>"], np.eye(2, 3)), (["a", "long word"], ["y"], np.eye(1, 2))]
    ).savefig(tmp_path / "maps.png")
