"""Pairs of texts: what the files may look like, who goes into which part, and what a batch holds."""

from __future__ import annotations

import datetime
import gzip
import zipfile

import numpy as np
import pytest
import torch

from mlrun.config.compose import compose
from mlrun.config.instantiate import build, plain
from mlrun.data.batches import columns_of
from mlrun.data.datasets.dates import Dates, unambiguous
from mlrun.data.datasets.parallel_text import Multi30k, ParallelText
from mlrun.data.pair_batches import PairBatches
from mlrun.data.preprocess.pairs import PairPreprocessor
from mlrun.data.preprocess.preprocessor import load, make_preprocessor
from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD
from mlrun.data.sequences import Sequences
from mlrun.errors import DataError

WORDS = {"kind": "words"}


def made(kind=ParallelText, **options):
    options = {
        "problem": "translation",
        "name": "test",
        "seed": 1,
        "source_tokenizer": WORDS,
        "target_tokenizer": WORDS,
        **options,
    }
    data = kind(**options)
    data.prepare()
    return data


def from_yaml(*overrides):
    cfg = plain(compose(["model=transformer", *overrides]))
    data = build(cfg["dataset"], {"seed": cfg["seed"], "data_dir": cfg["data_dir"], "name": cfg["dataset"]["name"]})
    data.prepare()
    return data


def fitted(data) -> PairPreprocessor:
    return make_preprocessor(None, data)


def pairs_of(data, part):
    """Sources and references of a part."""
    examples = data.examples(part)
    return list(examples["source"]), examples["target"]


@pytest.fixture
def folder(tmp_path):
    """Multi30k's layout, one side of it packed."""
    for part, rows in {"train": 20, "val": 4, "test_2016_flickr": 3}.items():
        (tmp_path / f"{part}.de").write_text(
            "".join(f"das ist {part} {row}\n" for row in range(rows)), encoding="utf-8"
        )
        with gzip.open(tmp_path / f"{part}.en.gz", "wt", encoding="utf-8") as file:
            file.writelines(f"this is {part} {row}\n" for row in range(rows))
    return tmp_path


def test_a_folder_with_parts(folder):
    data = made(path=str(folder), languages=["de", "en"], split={"train": None})
    assert data.sizes == {"train": 20, "val": 4, "test": 3}
    assert pairs_of(data, "val") == (
        [f"das ist val {row}" for row in range(4)],
        [[f"this is val {row}"] for row in range(4)],
    )
    turned = made(Multi30k, data_dir=str(folder), languages=["en", "de"], split={"train": None})
    assert pairs_of(turned, "test")[0][0] == "this is test_2016_flickr 0"
    with pytest.raises(DataError, match="languages"):
        made(path=str(folder))
    with pytest.raises(DataError, match="train.fr"):
        made(path=str(folder), languages=["de", "fr"])


def test_two_files_and_one_with_tabs_are_the_same(folder):
    pairs = [str(folder / "train.de"), str(folder / "train.en.gz")]
    two = made(path=pairs, split={"train": None, "val": 2, "test": 3})
    assert two.sizes == {"train": 15, "val": 2, "test": 3}
    text = "".join(f"das ist train {row}\tthis is train {row}\tCC-BY\r\n" for row in range(20))
    (folder / "pairs.tsv").write_text(text, encoding="utf-8", newline="")
    with zipfile.ZipFile(folder / "pairs.zip", "w") as archive:
        archive.writestr("pairs.txt", text)
        archive.writestr("_about.txt", "licence")
    for file in ("pairs.tsv", "pairs.zip"):
        one = made(path=str(folder / file), split={"train": None, "val": 2, "test": 3})
        assert one.digest == two.digest and pairs_of(one, "test") == pairs_of(two, "test")
    back = made(path=str(folder / "pairs.tsv"), columns=[1, 0], split={"train": None, "val": 2, "test": 3})
    assert pairs_of(back, "test")[0] == [expected[0] for expected in pairs_of(two, "test")[1]]


def test_files_that_cannot_be_used_are_refused_with_the_place(tmp_path):
    (tmp_path / "a").write_text("eins\nzwei\n")
    (tmp_path / "b").write_text("one\n")
    with pytest.raises(DataError, match="2 lines.*1"):
        made(path=[str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(DataError, match="a, line 1: 1 .*columns"):
        made(path=str(tmp_path / "a"))
    (tmp_path / "c").write_bytes(b"ein\tone\nz\xfcge\ttrains\n")
    with pytest.raises(DataError, match="c, line 2: not UTF-8"):
        made(path=str(tmp_path / "c"))
    with pytest.raises(DataError, match="absent"):
        made(path=str(tmp_path / "absent"))
    packed = gzip.compress(b"eins\tone\n" * 50)
    (tmp_path / "d.gz").write_bytes(packed[:12] + b"\xff\xff\xff" + packed[15:])
    with pytest.raises(DataError, match="d.gz: cannot be read"):
        made(path=str(tmp_path / "d.gz"))
    for columns in ([0], ["a", "b"], [0, -1]):
        with pytest.raises(DataError, match="give the numbers of the source and the target column"):
            made(path=str(tmp_path / "a"), columns=columns)
    (tmp_path / "e").write_text("eins\tone\nzwei\t\n" * 20)
    assert made(path=str(tmp_path / "e"), split={"train": None}).summary == [
        ("left out", "20 pairs with an empty side")
    ]
    with pytest.raises(DataError, match="translation"):
        made(path=str(tmp_path / "c"), problem="classification")


def test_a_source_with_several_translations_stays_together(tmp_path):
    rows = [f"source {row // 3}\ttarget {row}" for row in range(300)]
    (tmp_path / "pairs").write_text("\n".join(rows))
    data = made(path=str(tmp_path / "pairs"), split={"train": None, "val": 20, "test": 20})
    sources = {part: {data.column("source")[row] for row in data.rows(part)} for part in ("train", "val", "test")}
    assert not (
        sources["train"] & sources["val"] or sources["train"] & sources["test"] or sources["val"] & sources["test"]
    )
    assert data.sizes == {"train": 180, "val": 20, "test": 20} and all(
        len(found) == 3 for found in pairs_of(data, "test")[1]
    )
    train = data.examples("train")
    assert all(len(set(found)) == 3 for found in train["target"])
    assert sorted(first for first, *_ in train["target"]) == sorted(data.column("target")[data.rows("train")])
    turned = data.with_parts({"train": data.rows("train"), "test": data.rows("val")})  # as folds are
    assert turned.sizes["test"] == 20 and pairs_of(turned, "test") == (
        pairs_of(data, "val")[0],
        [references[:1] for references in pairs_of(data, "val")[1]],
    )


def test_sources_of_a_test_file_that_were_trained_on_are_counted(tmp_path):
    (tmp_path / "train").write_text("".join(f"source {row}\ttarget {row}\n" for row in range(40)))
    (tmp_path / "test").write_text("source 3\tother\nsource 3\tnext\nnew\tnew\n")
    data = made(path=str(tmp_path / "train"), test_path=str(tmp_path / "test"), split={"train": None})
    assert data.summary == [("duplicates", "1 of the 2 test sources are also in train")]
    assert not made(path=str(tmp_path / "train"), split={"train": None, "val": 4}).summary


def test_length_limits(tmp_path):
    (tmp_path / "pairs").write_text("\n".join(f"{'a ' * (row % 10 + 1)}{row}\tb" for row in range(200)))
    path = str(tmp_path / "pairs")
    split = {"train": None, "val": 20, "test": 20}
    assert sum(made(path=path, max_words=5, split=split).sizes.values()) == 80
    short = made(path=path, max_length=5, split=split)
    assert short.sizes["test"] == 20 and max(len(text.split()) for text in pairs_of(short, "test")[0]) > 5
    preprocessor, sources = fitted(short), short.examples("train")["source"]
    loader = short.loader("train", preprocessor, shuffle=True)
    batches = list(loader)
    assert max(batch["input_ids"].shape[1] for batch in batches) == 6  # with the end token
    rows = torch.cat([batch.rows for batch in batches])
    assert sorted(rows.tolist()) == [row for row, text in enumerate(sources) if len(text.split()) <= 5]
    for batch in batches:
        for row, ids in zip(batch.rows.tolist(), batch["input_ids"]):
            assert ids[ids != PAD].tolist() == preprocessor.source_ids(sources[row]).tolist()
    assert len(list(short.loader("train", preprocessor))) * 64 > len(sources)  # evaluation leaves none out
    with pytest.raises(DataError, match="at most 1 token"):
        fitted(made(path=path, max_length=1, split=split))


def test_encoding_there_and_back(tmp_path):
    for overrides in (
        [],
        ["dataset.reverse_source=true", "dataset.reverse_target=true"],
        ["dataset.target_tokenizer=null"],
    ):
        data = from_yaml("dataset.rows=500", "dataset.split.val=50", "dataset.split.test=50", *overrides)
        own = fitted(data)
        preprocessor = load(own.state)
        assert preprocessor.state == own.state and preprocessor.spec == own.spec
        assert (preprocessor.target is preprocessor.source) == ("dataset.target_tokenizer=null" in overrides)
        examples = data.examples("test").take(slice(0, 5))
        encoded = preprocessor.encode(examples)
        ids = encoded["input_ids"].padded()
        assert ids.dtype == np.int64 and (ids == own.encode(examples.only(["source"]))["input_ids"].padded()).all()
        for row, text in zip(ids, examples["source"]):
            kept = [token for token in row if token != PAD]
            assert kept[-1] == EOS and len(kept) == len(text) + 1
            spelled = preprocessor.source.decode(kept[:-1])
            assert (spelled[::-1] if preprocessor.reverse_source else spelled) == text
        # what follows the end does not count
        generated = [[*preprocessor.target_ids(first)[1:], 5, 6] for first, *_ in examples["target"]]
        predictions = preprocessor.decode({"sequences": generated, "scores": np.zeros(5)})
        assert predictions.texts == [first for first, *_ in examples["target"]]
        assert not predictions.mistakes(examples["target"]).any()


def test_what_the_network_is_told():
    data = from_yaml("dataset=arithmetic", "dataset.rows=2000", "dataset.split.val=100", "dataset.split.test=100")
    spec = fitted(data).spec
    longest = max(len(first) for first, *_ in data.examples("train")["target"]) + 1  # EOS
    assert spec == {"source_vocab_size": 15, "target_vocab_size": 14, "max_target_length": longest + longest // 4}
    assert data.spec == {"measure": "exact_match"}


def test_vocabularies_are_inherited(tmp_path):
    (tmp_path / "one").write_text("abc\txyz\nab\txy\n")
    (tmp_path / "other").write_text("cba\tzzzzzzz\n")
    first, second = (
        fitted(made(path=str(tmp_path / name), split={"train": None}, source_tokenizer=None, target_tokenizer={"kind": "characters"}))
        for name in ("one", "other")
    )  # fmt: skip
    assert second.inherit(first.state) == ["source"]
    assert second.source.vocabulary == first.source.vocabulary and second.target.vocabulary == first.target.vocabulary
    assert second.spec["max_target_length"] == 8 + 2  # of its own training pairs
    assert second.inherit({**first.state, "_target_": "another.Preprocessor"}) == []


def test_references_are_compared_as_the_model_writes(tmp_path):
    (tmp_path / "pairs").write_text("Eins\tOne\nZwei\tTwo\n")
    lower = {"kind": "words", "lowercase": True}
    data = made(path=str(tmp_path / "pairs"), split={"train": None}, source_tokenizer=lower, target_tokenizer=lower)
    preprocessor, examples = fitted(data), data.examples("train")
    assert examples["target"] == [["One"], ["Two"]]  # as in the file
    found = preprocessor.decode({"sequences": [preprocessor.target_ids("one")[1:], preprocessor.target_ids("ONE")[1:]]})
    assert found.texts == ["one", "one"] and found.mistakes(examples["target"]).tolist() == [0, 1]
    assert found.references(examples["target"]) == [["one"], ["two"]]
    assert found.take(np.array([1])).concatenate([found]).lowercase


def test_words_come_back_as_they_are_counted(tmp_path):
    (tmp_path / "pairs").write_text("x\ta man in a t-shirt, isn't he?\n" * 2 + "y\tno\n")
    preprocessor = fitted(made(path=str(tmp_path / "pairs"), split={"train": None}))
    ids = preprocessor.target_ids("a man in a t-shirt, isn't he?")
    assert preprocessor.text(ids[1:]) == "a man in a t-shirt , isn't he ?"


def test_batches_hold_every_pair_once_and_little_padding():
    data = from_yaml("dataset.rows=3000", "dataset.split.val=50", "dataset.split.test=50")
    preprocessor, seen, tokens, places = fitted(data), set(), 0, 0
    loader = data.loader("train", preprocessor, shuffle=True)
    examples = data.examples("train")
    for batch in loader:
        source, target, labels = (batch[name] for name in ("input_ids", "decoder_input_ids", "labels"))
        assert source.dtype == target.dtype == labels.dtype == torch.int64 and (target[:, 0] == BOS).all()
        assert torch.equal(target[:, 1:], labels[:, :-1])
        assert torch.equal(batch["attention_mask"], source != PAD)
        assert (source != PAD).sum(1).max() == source.shape[1] and (labels != PAD).sum(1).max() == labels.shape[1]
        row, last = int(batch.rows[0]), labels[0][labels[0] != PAD]
        assert last[-1] == EOS and preprocessor.text(last.tolist()) == examples["target"][row][0]
        seen |= {tuple(row) for row in source.tolist() for row in [[token for token in row if token]]}
        tokens, places = tokens + int((source != PAD).sum()), places + source.numel()
    assert len(seen) == data.sizes["train"] and tokens / places > 0.85
    first = [batch["input_ids"].shape for batch in data.loader("train", preprocessor, shuffle=True)]
    assert [batch["input_ids"].shape for batch in loader] != first  # the second epoch differs
    again = [data.loader("train", preprocessor, shuffle=True) for _ in range(2)]
    assert all(torch.equal(one["input_ids"], other["input_ids"]) for one, other in zip(*again))


def test_evaluation_sorts_rows_and_says_which_they_are():
    data = from_yaml("dataset.rows=500", "dataset.split.val=50", "dataset.split.test=50")
    preprocessor, examples = fitted(data), data.examples("val")
    batches = list(data.loader("val", preprocessor))
    rows = torch.cat([batch.rows for batch in batches]).tolist()
    assert sorted(rows) == list(range(50)) and rows != list(range(50))
    lengths = [len(preprocessor.source_ids(examples["source"][row])) for row in rows]
    assert lengths == sorted(lengths)  # all targets are of one length
    for batch in batches:
        for row, ids in zip(batch.rows.tolist(), batch["input_ids"]):
            assert ids[ids != PAD].tolist() == preprocessor.source_ids(examples["source"][row]).tolist()


def of_rows(rows, **options):
    """Batches of the same rows on both sides."""
    columns = columns_of({"input_ids": Sequences(rows, PAD, "attention_mask"), "labels": Sequences(rows, PAD)})
    lengths = torch.tensor([len(row) for row in rows])
    return PairBatches(columns, lengths, lengths, 8, 2, shuffle=True, **options)


def test_the_order_is_resumed():
    rows = [np.full(1 + row % 7, row + 1, np.int32) for row in range(50)]
    whole, cut = (of_rows(rows, seed=3) for _ in range(2))
    first = [batch["input_ids"].tolist() for batch in whole]
    iterator = iter(cut)
    assert [next(iterator)["input_ids"].tolist() for _ in range(3)] == first[:3]
    resumed = of_rows(rows, seed=0)
    resumed.load_state_dict(cut.state_dict())
    assert [batch["input_ids"].tolist() for batch in resumed] == first[3:]
    shares = [of_rows(rows, seed=3, shard=(rank, 2)) for rank in range(2)]
    tokens = {token for share in shares for batch in share for token in batch["input_ids"].flatten().tolist()}
    assert tokens - {PAD} == set(range(1, 51))


def test_dates_are_what_babel_says_and_mean_one_day():
    from babel.dates import format_date

    data = made(
        Dates, rows=3000, languages=["en", "de", "es"], source_tokenizer=None, target_tokenizer={"kind": "characters"}
    )
    texts = dict(zip(data.column("source"), data.column("target")))
    assert len(texts) == 3000
    meant = {}
    for iso in set(texts.values()):
        for language in ("en", "de", "es"):
            for form in ("full", "long", "medium", "short"):
                text = " ".join(format_date(datetime.date.fromisoformat(iso), form, language).split())
                meant.setdefault(text, set()).add(iso)
    assert all(iso in meant[text] for text, iso in texts.items())
    kept = unambiguous([("en_US", "M/d/yy"), ("es", "d/M/yy"), ("de", "dd.MM.yy")])
    assert [locale for locale, _ in kept] == ["en_US", "de"]
    with pytest.raises(DataError, match="klingon"):
        made(Dates, languages=["klingon"])


def test_sums_are_right_and_none_comes_twice():
    data = from_yaml("dataset=arithmetic", "dataset.rows=2000", "dataset.split.val=100", "dataset.split.test=100")
    assert all(
        sum(map(int, source.split("+"))) == int(target)
        for source, target in zip(data.column("source"), data.column("target"))
    )
    assert len({tuple(sorted(source.split("+"))) for source in data.column("source")}) == 2000
    with pytest.raises(DataError, match="only 55"):
        from_yaml("dataset=arithmetic", "dataset.digits=1", "dataset.rows=60")


def test_reversed_rows():
    data = from_yaml("dataset=reverse", "dataset.rows=2500")
    for source, target in zip(data.column("source"), data.column("target")):
        assert source.split()[::-1] == target.split()
    assert max(len(text.split()) for text in data.column("source")) == 25 and data.sizes["test"] == 1000


def test_french_and_english(fra_eng):
    data = from_yaml("dataset=fra_eng", f"data_dir={fra_eng}", "dataset.max_words=4")
    targets = data.column("target")
    assert ("Go.", "Va !") == (data.column("source")[0], targets[0])
    assert data.sizes["val"] == 1000 and data.sizes["test"] == 2000 and max(len(text.split()) for text in targets) == 4
