"""Texts with classes: files in every layout, batches, networks and estimators on the same data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from mlrun.config.compose import compose
from mlrun.config.instantiate import build, plain
from mlrun.data.datasets.labelled_text import LabelledText, RtPolarity
from mlrun.data.datasets.language_id import LanguageId
from mlrun.data.inputs import as_examples
from mlrun.data.preprocess.preprocessor import make_preprocessor
from mlrun.errors import DataError
from mlrun.networks.text.text_classifiers import BagOfEmbeddings, RecurrentClassifier, TextCNN, TransformerClassifier
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from tests.conftest import SHARED_DATA
from tests.test_models import Nobody, trained

GOOD, BAD = ["a fine film , moving", "NA", 'great "fun"'] * 10, ["dull; a bore", "null", "what a mess"] * 10


def labelled(path, **options):
    data = LabelledText(str(path), "classification", "labelled_text", 1, **options)
    data.prepare()
    return data


def texts_of(data, label):
    columns = data.content.columns
    return sorted(columns["text"][columns["label"] == data.target.classes.index(label)])


def write(layout, folder):
    import pandas as pd

    both = pd.DataFrame({"id": range(60), "review": GOOD + BAD, "sentiment": ["good"] * 30 + ["bad"] * 30})
    if layout in ("csv", "tsv"):
        both.to_csv(folder / f"t.{layout}", sep="," if layout == "csv" else "\t", index=False)
        return folder / f"t.{layout}"
    if layout == "parquet":
        both.to_parquet(folder / "t.parquet")
        return folder / "t.parquet"
    if layout == "lines":
        (folder / "rt-polarity.good").write_text("\n".join(GOOD))
        (folder / "rt-polarity.bad").write_text("\n".join(BAD))
        return folder
    for part in ("train", "test") if layout == "imdb" else (".",):
        for name, texts in {
            "good": GOOD,
            "bad": BAD,
            **({"unsup": GOOD} if layout == "imdb" and part == "train" else {}),
        }.items():
            (folder / part / name).mkdir(parents=True)
            for number, text in enumerate(texts):
                (folder / part / name / f"{number}.txt").write_text(text)
    return folder


@pytest.mark.parametrize("layout", ["csv", "tsv", "parquet", "lines", "folders", "imdb"])
def test_every_layout_gives_the_same_texts(layout, tmp_path):
    data = labelled(write(layout, tmp_path))
    assert data.target.classes == ["bad", "good"]
    times = 2 if layout == "imdb" else 1
    assert texts_of(data, "good") == sorted(GOOD * times) and texts_of(data, "bad") == sorted(BAD * times)
    assert data.content.test_rows == (60 if layout == "imdb" else None)


def test_columns_and_mistakes(tmp_path):
    path = write("csv", tmp_path)
    assert labelled(path, text="review", target="sentiment").digest == labelled(path).digest
    for options, message in (
        ({"text": "nothing"}, "no column 'nothing'"),
        ({"target": "id"}, "too many to be classes"),
    ):
        with pytest.raises(DataError, match=message):
            labelled(path, **options)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("text")
    with pytest.raises(DataError, match="at least two classes"):
        labelled(tmp_path / "one")
    with pytest.raises(DataError, match="set dataset.path"):
        LabelledText(None, "classification", "labelled_text", 1).prepare()
    with pytest.raises(DataError, match="rt-polarity.neg"):
        RtPolarity("classification", "rt_polarity", 1, data_dir=str(tmp_path)).prepare()


def test_folders_of_strangers(tmp_path):
    """Predefined parts, one with a class of its own; byte-order marks; an ellipsis of Windows; a file that is no text."""
    for part, classes in (("train", "abc"), ("val", "ab"), ("test", "ab")):
        for name in classes:
            (tmp_path / "parts" / part / name).mkdir(parents=True)
            for number in range(4):
                (tmp_path / "parts" / part / name / f"{number}.txt").write_bytes(
                    f"\ufeff{part} {name} {number % 3}".encode()
                )
    (tmp_path / "parts" / "test" / "a" / "0.txt").write_text("train a 0")
    data = labelled(tmp_path / "parts")
    parts = {part: {text.split()[0] for text in data.examples(part)["text"]} for part in ("train", "val", "test")}
    assert parts == {"train": {"train"}, "val": {"val"}, "test": {"test", "train"}} and sum(data.sizes.values()) == 24
    assert dict(data.summary) | {"target": ""} == {
        "target": "", "left out": "c (4 texts): not in every part", "duplicates": "1 of the 8 test texts are also in train"
    }  # fmt: skip
    (tmp_path / "lines").mkdir()
    for name in "ab":
        (tmp_path / "lines" / f"{name}.txt").write_bytes(b"one\x85 or two\r\nthree\r\n" * 10)
    assert len(labelled(tmp_path / "lines").content) == 40
    (tmp_path / "lines" / "c.bin").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="c.bin: holds zero bytes"):
        labelled(tmp_path / "lines")


def test_white_space_makes_no_further_class(tmp_path):
    from mlrun.data.datasets.text_pairs import TextPairs

    rows = [f"text {i},other {i},{['good', 'good ', 'bad', ' bad'][i % 4]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("text,text_pair,label\n" + "\n".join(rows))
    pairs = TextPairs(str(tmp_path / "t.csv"), "text_pairs", "text_pairs", 1)
    for data in (labelled(tmp_path / "t.csv", text="text", target="label"), pairs):
        assert data.target.classes == ["bad", "good"]


def test_texts_without_content(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "?,a\n,b\n" * 20)
    data = labelled(tmp_path / "t.csv")
    assert set(data.content.columns["text"]) == {"", "?"}
    (tmp_path / "t.csv").write_text("text,label\n" + ",a\n,b\n" * 20)
    with pytest.raises(DataError, match="empty vocabulary in the training texts"):
        make_preprocessor(None, labelled(tmp_path / "t.csv"), estimator=True)
    with pytest.raises(DataError, match="label_separator"):
        labelled(tmp_path / "t.csv", label_separator="")


def test_batches_hold_every_text_once_and_little_padding():
    data = LanguageId(
        "classification",
        "language_id",
        1,
        tokenizer={"kind": "characters"},
        batch_size=32,
        languages=["de", "fi", "ru"],
    )
    preprocessor = make_preprocessor(None, data)
    shuffled = list(data.loader("train", preprocessor, shuffle=True))
    x = [tuple(row[row > 0].tolist()) for batch in shuffled for row in batch["input_ids"]]
    encode = preprocessor.encoders["text"].ids
    assert sorted(x) == sorted(tuple(encode(text).tolist()) for text in data.examples("train")["text"])
    places = sum(batch["input_ids"].numel() for batch in shuffled)
    assert sum((batch["input_ids"] == 0).sum() for batch in shuffled) < 0.15 * places
    assert all(torch.equal(batch["attention_mask"], batch["input_ids"] != 0) for batch in shuffled)
    again = list(data.loader("train", preprocessor, shuffle=True))
    assert all(
        torch.equal(a["input_ids"], b["input_ids"]) and torch.equal(a["labels"], b["labels"])
        for a, b in zip(shuffled, again, strict=True)
    )
    kept = torch.cat([batch["labels"] for batch in data.loader("test", preprocessor)])
    assert torch.equal(kept, torch.from_numpy(data.examples("test")["label"]))


def test_names_have_one_language():
    data = LanguageId("classification", "language_id", 1)
    names = data.content.columns["text"]
    assert len(data.target.classes) == 16 and len(names) > 12000
    folded = [name.casefold() for name in names]
    assert len(set(folded)) == len(folded)
    with pytest.raises(DataError, match="xx"):
        LanguageId("classification", "language_id", 1, languages=["de", "xx"]).prepare()


NETWORKS = {
    "bag": lambda: BagOfEmbeddings(20, 3, 8, ngrams=3),
    "averaging": lambda: BagOfEmbeddings(20, 3, 8, hidden=[6]),
    "last": lambda: RecurrentClassifier(20, 3, 8, 5, "lstm", pooling="last", num_layers=2),
    "max": lambda: RecurrentClassifier(20, 3, None, 5, "rnn", pooling="max"),
    "attention": lambda: RecurrentClassifier(20, 3, 8, 5, pooling="attention"),
    "cnn": lambda: TextCNN(20, 3, 8, 4),
    "transformer": lambda: TransformerClassifier(20, 3, 32, 8, 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_changes_nothing(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    texts = [torch.randint(1, 20, (length,)) for length in (1, 2, 5, 9)]
    together = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    wide = torch.nn.functional.pad(together, (0, 4))
    with torch.no_grad():
        alone = torch.cat([network(text[None]) for text in texts])
        torch.testing.assert_close(network(together), alone, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(network(wide), alone, atol=1e-5, rtol=1e-4)
    assert alone.shape == (4, 3)


FEW = ["dataset.languages=[de,fi,pl,ru]", "dataset.batch_size=32"]
FLOORS = {  # halfway between the worst of five seeds (0.87 to 0.94) and shuffled labels (0.26 to 0.36)
    "text_bag": 0.59,
    "text_rnn": 0.62,
    "text_cnn": 0.6,
    "text_transformer": 0.58,
    "multinomial_nb": 0.63,
    "softmax_regression": 0.6,
}


@pytest.mark.parametrize("name", FLOORS)
def test_they_learn_and_answer_raw_texts(name, tmp_path):
    learner, data = trained(
        tmp_path, f"model={name}", "dataset=language_id", *FEW, "trainer.max_epochs=3", "optim.lr=5e-3"
    )
    assert learner.evaluate(data, "test").metrics["accuracy"] >= FLOORS[name]
    learner.save(tmp_path / "model")
    again, test = load_learner(tmp_path / "model"), data.examples("test")

    def answers(given):
        return again.predict(as_examples(given, again.inputs)).answers().tolist()

    expected, texts = learner.predict(test).answers().tolist(), test["text"]
    assert again.predict(test).answers().tolist() == answers(texts) == answers(texts.tolist()) == expected
    assert answers(data.sample("test")) == answers(texts[:5])
    assert answers(["Deutschland und Österreich", "Российская Федерация"]) == ["German", "Russian"]
    assert len(answers(["", "漢"])) == 2
    if name.startswith("text_"):  # estimators refuse an empty array
        assert answers([]) == []


class LikeTransformers(nn.Module):
    """A network with the interface of `transformers`: named inputs, an output object with `logits`."""

    @dataclass
    class Output:
        logits: torch.Tensor

    def __init__(self, vocab_size: int, num_outputs: int):
        super().__init__()
        self.embedding, self.head = nn.Embedding(vocab_size, 32), nn.Linear(32, num_outputs)

    def forward(self, input_ids, attention_mask=None, labels=None, output_attentions=None):
        assert attention_mask.shape == input_ids.shape and labels is None
        weight = attention_mask.unsqueeze(-1).float()
        return self.Output(self.head((self.embedding(input_ids) * weight).sum(1) / weight.sum(1)))


class Bert(nn.Module):
    """`transformers`' own classifier, whose sizes the dataset gives."""

    def __new__(cls, vocab_size: int, num_outputs: int):
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            vocab_size=vocab_size,
            num_labels=num_outputs,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            pad_token_id=0,
        )
        return transformers.BertForSequenceClassification(config)


@pytest.mark.parametrize("network", ["LikeTransformers", "Bert"])
def test_a_network_of_transformers_needs_no_change(network, tmp_path):
    if network == "Bert":
        pytest.importorskip("transformers")
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "own.yaml").write_text(
        "fits: [classification]\n_target_: mlrun.tasks.supervised.Supervised\n"
        f"network: {{_target_: tests.text.test_text_classification.{network}}}\n"
    )
    overrides = ["model=own", "dataset=language_id", *FEW, "trainer.max_epochs=5", "optim=adam", "optim.lr=5e-3"]
    cfg = plain(compose(overrides, config_dir=str(tmp_path / "own")))
    data = build(cfg["dataset"], {"seed": cfg["seed"], "data_dir": None, "name": cfg["dataset"]["name"]})
    data.prepare()
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.evaluate(data, "test").metrics["accuracy"] >= 0.65
    learner.save(tmp_path / "model")
    texts = data.sample("test")
    again = load_learner(tmp_path / "model").predict(texts)
    np.testing.assert_array_equal(again.probabilities, learner.predict(texts).probabilities)
    alone = learner.predict(texts.take(slice(0, 1))).probabilities  # padding is masked
    np.testing.assert_allclose(alone, again.probabilities[:1], atol=1e-5)


@pytest.mark.parametrize("ngrams, published", [([1, 1], 0.779)])
def test_published_naive_bayes_on_film_reviews(ngrams, published):
    """Wang and Manning 2012, "Baselines and bigrams", table 2, by ten folds."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    from mlrun.data.preprocess.text_features import TextFeatures

    if not (SHARED_DATA / "rt_polarity").is_dir():
        pytest.skip("the film reviews are not here (MLRUN_DATA_DIR, or ../shared/data)")
    data = RtPolarity("classification", "rt_polarity", 1, data_dir=str(SHARED_DATA))
    folds = StratifiedKFold(10, shuffle=True, random_state=1)
    accuracy = cross_val_score(
        make_pipeline(TextFeatures(ngrams=ngrams), MultinomialNB()),
        data.content.columns["text"],
        data.content.columns["label"],
        cv=folds,
    )
    assert np.mean(accuracy) == pytest.approx(published, abs=0.01)
