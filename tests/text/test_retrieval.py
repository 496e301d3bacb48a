"""Retrieval: rankings and their metrics, the retrievers, data of documents, questions asked of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.data.datasets.retrieval import smart_records
from mlrun.data.examples import Examples
from mlrun.data.passages import Passages
from mlrun.errors import ConfigError, DataError
from mlrun.estimators.encoders import open_encoder
from mlrun.estimators.retrievers import BM25, Dense, Fusion, singular
from mlrun.evaluation.ranking import measures
from mlrun.experiment.run import run
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from tests.test_models import prepared

TEXTS = ["cats sleep all day", "a dog chases cats", "prices of oil rise", "dogs bark at a cat and a dog"]


def test_measures_equal_scikit_learns():
    from sklearn.metrics import average_precision_score, ndcg_score

    random = np.random.default_rng(0)
    for _ in range(50):
        scores, relevant = random.random(40), random.choice(40, random.integers(1, 15), replace=False)
        truth = np.isin(np.arange(40), relevant).astype(int)
        ranked = np.argsort(-scores)
        found = measures(ranked, relevant)
        assert found[0] == pytest.approx(average_precision_score(truth, scores))
        assert found[2] == pytest.approx(ndcg_score(truth[None], scores[None], k=10))
        first = 1 + int(np.flatnonzero(truth[ranked])[0])
        assert found[1] == (1 / first if first <= 10 else 0)
        assert found[3] == truth[ranked[:10]].sum() / truth.sum() and found[4] == 1


def test_bm25_follows_its_formula():
    retriever = BM25(k1=1.2, b=0.5)
    retriever.index(TEXTS)
    scores = retriever.scores(["dog", "cat oil", "unheard of"])
    words = [retriever.words(text) for text in TEXTS]
    lengths = np.array([len(row) for row in words])
    for query, row in (("dog", 0), ("cat oil", 1)):
        expected = np.zeros(4)
        for word in query.split():
            holding = sum(word in row for row in words)
            weight = np.log(1 + (4 - holding + 0.5) / (holding + 0.5))
            counts = np.array([row.count(word) for row in words])
            expected += weight * counts / (counts + 1.2 * (0.5 + 0.5 * lengths / lengths.mean()))
        np.testing.assert_allclose(scores[row], np.where(expected > 0, expected, -np.inf), rtol=1e-4)
    assert (scores[2] == -np.inf).all()  # nothing is found
    assert [singular(word) for word in ("queries", "matrices", "classes", "axis", "bus")] == [
        "query",
        "matrice",
        "classe",
        "axi",
        "bus",
    ]


def test_dense_is_the_cosine_and_fusion_adds_reciprocal_ranks():
    vectors = {text: np.random.default_rng(at).normal(size=3) for at, text in enumerate([*TEXTS, "dog"])}
    dense, words = Dense(lambda texts: np.array([vectors[one] for one in texts])), BM25()
    fusion = Fusion([words, dense], constant=60)
    fusion.index(TEXTS)
    lengths = [np.linalg.norm(vectors[one]) for one in (*TEXTS, "dog")]
    expected = [vectors[one] @ vectors["dog"] / (length * lengths[-1]) for one, length in zip(TEXTS, lengths)]
    np.testing.assert_allclose(dense.scores(["dog"])[0], expected, rtol=1e-5)
    places = [np.argsort(np.argsort(-one.scores(["dog"])[0], kind="stable")) for one in (words, dense)]
    shares = [1 / (61 + place) for place in places]
    shares[0][[0, 2]] = 0  # the texts without a dog, which words do not find
    np.testing.assert_allclose(fusion.scores(["dog"])[0], sum(shares), rtol=1e-5)


def test_passages_overlap():
    made = Passages.of(["a b c d e f g", "h"], 4, 1)
    assert made.texts == ["a b c d", "d e f g", "h"] and made.owners.tolist() == [0, 0, 1]
    with pytest.raises(ConfigError, match="give 0 <= overlap < words"):
        Passages.of(["a"], 2, 2)


def test_records_of_smart():
    text = ".I 7\n.T\na wing\n.W\nof a\nplane .\n.I 12\n.W\nheat\n"
    records = list(smart_records(text))
    assert [number for number, _ in records] == ["7", "12"]
    assert records[0][1]["W"].split() == ["of", "a", "plane", "."]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder of texts about ten subjects, in a working directory of its own, with a run of `rag` on it."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "texts").mkdir()
    for at in range(30):
        (folder / "texts" / f"{at:02}.md").write_text(
            f"# subject{at} of the week\nHere subject{at} is explained at length.\nAnd more.\n"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        overrides = ["model=rag", "dataset=documents", "dataset.path=texts"]
        result = run(compose(overrides), folder / "run", overrides, report=silent)
        yield folder, result.metrics


def test_a_folder_of_texts_is_searched(library, capsys, monkeypatch):
    folder, metrics = library
    assert metrics["test/mrr_10"] == 1.0
    assert (
        dispatch(
            ["predict", str(folder / "run"), "--ask", "what is subject7, subject7 and subject3?", "--passages", "2"]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert said.startswith("1. 07.md") and "\n2. " in said and "subject7 is explained" in said
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("subject3\nsubject4\n\n"))
    assert dispatch(["predict", str(folder / "run"), "--ask", "-", "--passages", "1"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("1.")] == [
        "03.md",
        "04.md",
    ]


def test_what_no_document_holds_is_not_found(library, capsys):
    folder, _ = library
    for question in ("zebra", "what is it?", ""):
        assert dispatch(["predict", str(folder / "run"), "--ask", question]) == 0
        assert capsys.readouterr().out == "(no document has a word of this question)\n"
    learner = load_learner(folder / "run" / "model")
    queries = np.array(["zebra", "subject7"], dtype=object)
    nothing, one = learner.predict(Examples({"query": queries}, learner.inputs)).documents
    assert len(nothing) == 0 and len(one) == 1  # not all the others in the order of the folder


def test_folders_of_strangers(library, capsys):
    folder, _ = library
    odd = folder / "odd"
    for name in ("empty.txt", "image.png", "directory.md/note.rst", "notes.md"):
        (odd / name).parent.mkdir(parents=True, exist_ok=True)
        (odd / name).write_bytes(
            b"" if name == "empty.txt" else b"\xff\xd8" if name == "image.png" else b"About zebras"
        )
    for at in range(10):
        (odd / f"{at}.md").write_text(f"\ufeffsubject{at}\n\nit is subject{at}\n", encoding="utf-8")
    _, data = prepared("model=rag", "dataset=documents", "dataset.path=odd")
    assert len(data.content) == 10 and data.content.columns["query"][0] == "subject0"
    assert {one.name for one in data.documents} == {
        "directory.md/note.rst",
        "notes.md",
        *(f"{at}.md" for at in range(10)),
    }
    # the relevant documents of other data are not those of the index
    with pytest.raises(DataError, match="its 12 documents are not the 30 that this model has indexed"):
        dispatch(["evaluate", str(folder / "run"), "dataset.path=odd"])
    (odd / "0.md").write_bytes("subject0\nit is \xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match="0.md, line 2: not UTF-8"):
        prepared("model=rag", "dataset=documents", "dataset.path=odd")


def test_published_encoders_are_complete(library):
    from safetensors.torch import save_file

    folder, _ = library
    (folder / "published").mkdir()
    names = (
        "vocab_size",
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "max_position_embeddings",
    )
    sizes = dict(zip(names, (6, 8, 2, 1, 16, 16)))
    (folder / "published" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncat\n")
    tensors = {
        name: torch.zeros(8) for name in ("embeddings.LayerNorm.bias", "encoder.layer.0.attention.self.query.bias")
    }
    save_file(tensors, folder / "published" / "model.safetensors")
    for config, message in (({}, "it lacks vocab_size"), (sizes, "its weights lack encoder.tokens.weight")):
        (folder / "published" / "config.json").write_text(json.dumps({"model_type": "bert", **config}))
        with pytest.raises(ConfigError, match=message):
            open_encoder("published", "offline", False, "model.retriever.encoder")


def test_dense_needs_an_encoder_and_stores_it(library):
    folder, _ = library
    with pytest.raises(ConfigError, match="model.retriever.encoder=RUN"):
        make_learner(*prepared("model=rag", "dataset=documents", "dataset.path=texts", "model.retriever.kind=dense"))
    small = [f"model.network.encoder.{name}={value}" for name, value in {"width": 32, "heads": 2, "layers": 1}.items()]
    overrides = [
        "model=text_encoder",
        "dataset=documents",
        "dataset.path=texts",
        *small,
        "trainer.max_epochs=15",
        "trainer.threads=1",
        "optim.lr=0.01",
    ]
    trained = run(compose(overrides), folder / "encoder", overrides, report=silent)
    assert trained.metrics["test/mrr_10"] > 0.4  # of 30 documents
    dense = [
        "model=rag",
        "dataset=documents",
        "dataset.path=texts",
        "model.retriever.kind=fusion",
        "model.retriever.encoder=encoder",
    ]
    run(compose(dense), folder / "dense", dense, report=silent)
    before = load_learner(folder / "dense" / "model").best_passages("subject7", 3)
    (folder / "encoder").rename(folder / "elsewhere")
    assert load_learner(folder / "dense" / "model").best_passages("subject7", 3) == before


def test_answers_come_from_the_passages(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    packages = "dataset.packages=[joblib,networkx]"
    small = [f"model.network.encoder.{name}={value}" for name, value in {"width": 32, "heads": 2, "layers": 1}.items()]
    split = "dataset.split={train: 60, val: 20, test: 20}"
    reader = ["model=bert_qa", packages, split, *small, "trainer.max_epochs=1", "trainer.threads=1"]
    run(compose(reader), tmp_path / "reader", reader, report=silent)
    overrides = ["model=rag", packages, split, "dataset.queries=questions", "model.reader=reader"]
    result = run(compose(overrides), tmp_path / "run", overrides, report=silent)
    assert {"test/answer_f1", "test/closed_book_f1"} <= set(result.metrics)
    assert dispatch(["predict", str(tmp_path / "run"), "--ask", "what is the default of verbose in Parallel?"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert ("[from " in said[0] or said[0].startswith("(no answer")) and said[1].startswith("1. joblib")
    (tmp_path / "questions.csv").write_text("query\nwhat is verbose?\n")
    assert dispatch(["predict", str(tmp_path / "run"), "questions.csv", "--output", "found.jsonl"]) == 0
    assert json.loads((tmp_path / "found.jsonl").read_text())["prediction"][0]["document"].startswith(
        ("joblib", "networkx")
    )
