"""Pairs of texts: what the files may look like, who goes into which part, and what a batch holds."""

from __future__ import annotations

import datetime
import gzip
import zipfile

import numpy as np
import pytest
import torch
from mlrun.data.preprocess.transform import from_state

from mlrun.config.compose import compose
from mlrun.config.instantiate import build, plain
from mlrun.data.datasets.dates import Dates, unambiguous
from mlrun.data.datasets.parallel_text import Multi30k, ParallelText
from mlrun.data.pair_batches import PairBatches, Ragged
from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD
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
    assert data.references("val") == (
        [f"das ist val {row}" for row in range(4)],
        [[f"this is val {row}"] for row in range(4)],
    )
    turned = made(Multi30k, data_dir=str(folder), languages=["en", "de"], split={"train": None})
    assert turned.references("test")[0][0] == "this is test_2016_flickr 0"
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
        assert one.digest == two.digest and one.references("test") == two.references("test")
    back = made(path=str(folder / "pairs.tsv"), columns=[1, 0], split={"train": None, "val": 2, "test": 3})
    assert back.references("test")[0] == [expected[0] for expected in two.references("test")[1]]


def test_files_that_cannot_be_used_are_refused_with_the_place(tmp_path):
    (tmp_path / "a").write_text("eins\nzwei\n")
    (tmp_path / "b").write_text("one\n")
    with pytest.raises(DataError, match="2 lines.*1"):
        made(path=[str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(DataError, match="a, line 1: 1 columns"):
        made(path=str(tmp_path / "a"))
    (tmp_path / "c").write_bytes(b"ein\tone\nz\xfcge\ttrains\n")
    with pytest.raises(DataError, match="c, line 2: is not UTF-8"):
        made(path=str(tmp_path / "c"))
    with pytest.raises(DataError, match="absent"):
        made(path=str(tmp_path / "absent"))
    with pytest.raises(DataError, match="translation"):
        made(path=str(tmp_path / "c"), problem="classification")


def test_a_source_with_several_translations_stays_together(tmp_path):
    rows = [f"source {row // 3}\ttarget {row}" for row in range(300)]
    (tmp_path / "pairs").write_text("\n".join(rows))
    data = made(path=str(tmp_path / "pairs"), split={"train": None, "val": 20, "test": 20})
    sources = {part: {data.content.source[row] for row in data.rows(part)} for part in ("train", "val", "test")}
    assert not (
        sources["train"] & sources["val"] or sources["train"] & sources["test"] or sources["val"] & sources["test"]
    )
    assert data.sizes == {"train": 180, "val": 20, "test": 20} and all(
        len(found) == 3 for found in data.references("test")[1]
    )


def test_length_limits(tmp_path):
    (tmp_path / "pairs").write_text("\n".join(f"{'a ' * (row % 10 + 1)}{row}\tb" for row in range(200)))
    path = str(tmp_path / "pairs")
    split = {"train": None, "val": 20, "test": 20}
    assert sum(made(path=path, max_words=5, split=split).sizes.values()) == 80
    short = made(path=path, max_length=5, split=split)
    assert short.sizes["test"] == 20 and max(len(text.split()) for text in short.references("test")[0]) > 5
    assert max(batch[0].shape[1] for batch in short.loader("train", shuffle=True)) == 6  # with the end token
    with pytest.raises(DataError, match="at most 1 token"):
        made(path=path, max_length=1, split=split).spec


def test_encoding_there_and_back(tmp_path):
    for overrides in (
        [],
        ["dataset.reverse_source=true", "dataset.reverse_target=true"],
        ["dataset.target_tokenizer=null"],
    ):
        data = from_yaml("dataset.rows=500", "dataset.split.val=50", "dataset.split.test=50", *overrides)
        encoding = from_state(data.transform.state)
        source, targets = data.references("test")
        ids = encoding(source[:5])
        assert ids.dtype == np.int64 and (ids == data.transform(source[:5])).all()
        for row, text in zip(ids, source):
            kept = [token for token in row if token != PAD]
            assert kept[-1] == EOS and len(kept) == len(text) + 1
            spelled = encoding.source.decode(kept[:-1])
            assert (spelled[::-1] if encoding.reverse_source else spelled) == text
        for (text,) in targets[:5]:
            assert encoding.text([*encoding.target_ids(text)[1:], 5, 6]) == text  # what follows the end does not count


def test_words_come_back_as_they_are_counted(tmp_path):
    (tmp_path / "pairs").write_text("x\ta man in a t-shirt, isn't he?\n" * 2 + "y\tno\n")
    encoding = made(path=str(tmp_path / "pairs"), split={"train": None}).transform
    assert encoding.text(encoding.target_ids("a man in a t-shirt, isn't he?")[1:]) == "a man in a t-shirt , isn't he ?"


def test_batches_hold_every_pair_once_and_little_padding():
    data = from_yaml("dataset.rows=3000", "dataset.split.val=50", "dataset.split.test=50")
    seen, tokens, places = set(), 0, 0
    loader = data.loader("train", shuffle=True)
    for source, target in loader:
        assert source.dtype == target.dtype == torch.int64 and (target[:, 0] == BOS).all()
        assert (source != PAD).sum(1).max() == source.shape[1]
        seen |= {tuple(row) for row in source.tolist() for row in [[token for token in row if token]]}
        tokens, places = tokens + int((source != PAD).sum()), places + source.numel()
    assert len(seen) == data.sizes["train"] and tokens / places > 0.85
    assert [batch[0].shape for batch in loader] != [
        batch[0].shape for batch in data.loader("train", shuffle=True)
    ]  # the second epoch differs
    again = [data.loader("train", shuffle=True) for _ in range(2)]
    assert all(torch.equal(one[0], other[0]) for one, other in zip(*again))


def test_ragged_rows():
    ragged = Ragged([np.array([1, 2, 3], np.int32), np.array([4], np.int32), np.array([5, 6], np.int32)])
    assert ragged.rows(torch.tensor([1, 2])).tolist() == [[4, 0], [5, 6]]
    assert ragged.rows(torch.tensor([0, 1])).tolist() == [[1, 2, 3], [4, 0, 0]]


def test_the_order_can_be_gone_on_with():
    rows = [np.full(1 + row % 7, row + 1, np.int32) for row in range(50)]
    whole, cut = (PairBatches(rows, rows, 8, 2, shuffle=True, seed=3) for _ in range(2))
    first = [batch[0].tolist() for batch in whole]
    iterator = iter(cut)
    assert [next(iterator)[0].tolist() for _ in range(3)] == first[:3]
    resumed = PairBatches(rows, rows, 8, 2, shuffle=True, seed=0)
    resumed.load_state_dict(cut.state_dict())
    assert [batch[0].tolist() for batch in resumed] == first[3:]
    shares = [PairBatches(rows, rows, 8, 2, shuffle=True, seed=3, shard=(rank, 2)) for rank in range(2)]
    assert {token for share in shares for batch in share for token in batch[0].flatten().tolist()} - {0} == set(
        range(1, 51)
    )


def test_dates_are_what_babel_says_and_mean_one_day():
    from babel.dates import format_date

    data = made(
        Dates, rows=3000, languages=["en", "de", "es"], source_tokenizer=None, target_tokenizer={"kind": "characters"}
    )
    texts = dict(zip(data.content.source, data.content.target))
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
        for source, target in zip(data.content.source, data.content.target)
    )
    assert len({tuple(sorted(source.split("+"))) for source in data.content.source}) == 2000
    with pytest.raises(DataError, match="only 55"):
        from_yaml("dataset=arithmetic", "dataset.digits=1", "dataset.rows=60")


def test_reversed_rows():
    data = from_yaml("dataset=reverse", "dataset.rows=2500")
    for source, target in zip(data.content.source, data.content.target):
        assert source.split()[::-1] == target.split()
    assert max(len(text.split()) for text in data.content.source) == 25 and data.sizes["test"] == 1000


def test_french_and_english(fra_eng):
    data = from_yaml("dataset=fra_eng", f"data_dir={fra_eng}", "dataset.max_words=4")
    content = data.content
    assert ("Go.", "Va !") == (content.source[0], content.target[0])
    assert (
        data.sizes["val"] == 1000
        and data.sizes["test"] == 2000
        and max(len(text.split()) for text in content.target) == 4
    )
