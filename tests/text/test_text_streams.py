"""Texts as streams of tokens: parts, windows, mapped files; what a file may not be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.data import text_pieces
from mlrun.data.datasets import text_file
from mlrun.data.datasets.text_file import TextFile
from mlrun.data.examples import Examples
from mlrun.data.preprocess import streams
from mlrun.data.preprocess.preprocessor import load, make_preprocessor
from mlrun.data.preprocess.tokenizer import PAD, UNK
from mlrun.data.text_windows import ConsecutiveWindows
from mlrun.errors import DataError


def stream(path=None, **options):
    """A prepared text and its preprocessor."""
    data = TextFile(path, "language_modeling", "text_file", 1, **{"context_length": 8, "batch_size": 4, **options})
    data.prepare()
    return data, make_preprocessor(None, data)


def tokens_of(data, preprocessor, part):
    return data.stream(part, preprocessor).tokens


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("".join(f"line {i}: naïve 漢字 {i * i}\n" for i in range(400)), encoding="utf-8")
    return path


def test_parts_are_the_text_in_its_order(book):
    data, preprocessor = stream(book, split={"train": 0.7, "val": 0.2, "test": 0.1})
    parts, text = ("train", "val", "test"), book.read_text(encoding="utf-8")
    decoded = [preprocessor.tokenizer.decode(tokens_of(data, preprocessor, part)) for part in parts]
    assert "".join(decoded) == text == "".join(piece for part in parts for piece in data.examples(part)["text"])
    assert data.sizes == {part: len(piece.encode()) for part, piece in zip(parts, decoded)}
    assert tokens_of(data, preprocessor, "train").dtype == np.uint16
    assert data.stream("val", preprocessor).tokens_per_character == 1.0
    assert data.digest == stream(book)[0].digest and data.spec == {"context_length": 8}
    assert preprocessor.spec == {
        "vocab_size": len(preprocessor.tokenizer),
        "vocabulary": preprocessor.tokenizer.vocabulary,
    }


def test_the_vocabulary_is_of_the_training_part(tmp_path):
    (tmp_path / "t.txt").write_text("ab" * 100 + "z" * 20, encoding="utf-8")
    data, preprocessor = stream(tmp_path / "t.txt", split={"train": 200, "val": 10, "test": 10})
    assert set(tokens_of(data, preprocessor, "val")) == {UNK} and len(preprocessor.tokenizer) == 6


def test_a_text_is_read_in_pieces_that_end_with_a_line(book, monkeypatch):
    whole, preprocessor = stream(book, tokenizer={"kind": "words"})
    monkeypatch.setattr(text_pieces, "PIECE", 50)
    data, other = stream(book, tokenizer={"kind": "words"})
    pieces = data.examples("train")["text"]
    assert len(pieces) > 100 and len(pieces[0].encode()) <= 50 and all(piece.endswith("\n") for piece in pieces[:-1])
    assert "".join(pieces) == "".join(whole.examples("train")["text"])
    assert other.state == preprocessor.state
    np.testing.assert_array_equal(tokens_of(data, other, "train"), tokens_of(whole, preprocessor, "train"))


def test_prompts_are_rows(book):
    data, preprocessor = stream(book)
    preprocessor = load(preprocessor.state)
    texts = np.array(["line 1", "", "naïve"], dtype=object)
    rows = preprocessor.encode(Examples({"text": texts}, data.features))["input_ids"].rows
    assert [preprocessor.tokenizer.decode(row) for row in rows] == ["line 1", "", "naïve"] and rows[1].tolist() == [PAD]
    assert preprocessor.decode({"sequences": rows}).texts == ["line 1", "", "naïve"]
    assert list(data.sample("val")["text"]) == [line[:32] for line in "".join(data.pieces("val")).splitlines()[:5]]


def test_a_vocabulary_is_inherited(book, tmp_path):
    (tmp_path / "other.txt").write_text("wholly different: äöü\n" * 50, encoding="utf-8")
    (_, first), (_, second) = stream(book), stream(tmp_path / "other.txt")
    assert second.inherit(first.state) == ["text"] and second.state == first.state


def test_a_large_file_is_mapped_and_gives_the_same_tokens(book, tmp_path, monkeypatch):
    small, own = stream(book)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(streams, "ON_DISK", 100)
    monkeypatch.setattr(text_pieces, "PIECE", 1000)
    for attempt in range(2):  # made, then found again
        large, preprocessor = stream(book, resident_limit=0)
        assert preprocessor.state == own.state
        assert large.stream("val", preprocessor).characters == small.stream("val", own).characters
        for part in ("train", "val", "test"):
            tokens = tokens_of(large, preprocessor, part)
            assert isinstance(tokens, np.memmap)
            np.testing.assert_array_equal(tokens, tokens_of(small, own, part))
        for one, other in zip(large.random_windows(preprocessor), small.random_windows(own)):
            assert torch.equal(one["input_ids"], other["input_ids"]) and torch.equal(one["labels"], other["labels"])
        kept = sorted((tmp_path / "cache").rglob("*.*"))
        assert [file.suffixes[-2:] for file in kept].count([".tokenizer", ".json"]) == 1 and len(kept) == 7
        if attempt == 0:
            first = {file: file.stat().st_mtime_ns for file in kept}
    assert {file: file.stat().st_mtime_ns for file in kept} == first
    book.write_text("another text\n" * 100, encoding="utf-8")
    large, preprocessor = stream(book)
    assert preprocessor.tokenizer.decode(tokens_of(large, preprocessor, "train")).startswith("another text\n")


@pytest.mark.parametrize("kind", ["words", "bpe", "wordpiece"])
def test_other_tokens(book, kind):
    data, preprocessor = stream(book, tokenizer={"kind": kind, "size": 300})
    assert preprocessor.spec["vocab_size"] <= 300
    assert 0 < data.stream("val", preprocessor).tokens_per_character < 1


def test_windows_are_shifted_by_one(book):
    data, preprocessor = stream(book)
    tokens = torch.from_numpy(tokens_of(data, preprocessor, "train").astype(np.int64))
    batches = data.random_windows(preprocessor)
    assert len(list(batches)) == len(batches) == len(tokens) // 32
    text = preprocessor.tokenizer.decode(tokens)
    for batch in batches:
        x, y = batch["input_ids"], batch["labels"]
        assert torch.equal(x[:, 1:], y[:, :-1]) and preprocessor.tokenizer.decode(x[0]) in text


def test_consecutive_windows_cover_the_part_and_continue_row_by_row(book):
    data, preprocessor = stream(book)
    tokens = torch.from_numpy(tokens_of(data, preprocessor, "val").astype(np.int64))
    batches = list(data.loader("val", preprocessor))
    x, y = (torch.cat([batch[name] for batch in batches], 1) for name in ("input_ids", "labels"))
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert torch.equal(x.flatten(), tokens[: x.numel()]) and len(tokens) - x.numel() <= len(x)
    first, second = (
        list(data.loader("train", preprocessor, shuffle=True)),
        data.loader("train", preprocessor, shuffle=True),
    )
    assert all(torch.equal(a["labels"][:, -1:], b["input_ids"][:, :1]) for a, b in zip(first, first[1:]))
    list(second)
    assert not torch.equal(next(iter(second))["input_ids"], first[0]["input_ids"])  # every epoch begins elsewhere


def test_the_order_is_resumed(book):
    data, preprocessor = stream(book)
    for make in (
        lambda: data.random_windows(preprocessor),
        lambda: data.loader("train", preprocessor, shuffle=True),
    ):
        whole, broken = make(), make()
        expected = [batch["input_ids"] for _ in range(2) for batch in whole]
        reader, seen = iter(broken), []
        for _ in range(3):
            seen.append(next(reader)["input_ids"])
        again = make()
        again.load_state_dict(broken.state_dict())
        seen += [batch["input_ids"] for _ in range(2) for batch in again]
        assert all(torch.equal(a, b) for a, b in zip(expected, seen, strict=True))


def test_the_default_text_repeats_nothing():
    paragraphs = text_file.python_topics().decode().split("\n\n")
    assert len(paragraphs) == len(set(paragraphs)) > 1000


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"abc\n\xff\xfe" * 50, "line 2: not UTF-8"),
        ("abc\n".encode("utf-16-le") * 50, "line 1: holds a zero byte"),
        (b"abc", "fewer than dataset.context_length"),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        data, preprocessor = stream(tmp_path / "t.txt")
        data.random_windows(preprocessor)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "t.txt").write_text("\ufeffabcdefghij", encoding="utf-8")
    data, preprocessor = stream(tmp_path / "t.txt", split={"train": 8, "val": 1, "test": 1})
    assert data.examples("train")["text"][0] == "abcdefgh" and data.sizes == {"train": 8, "val": 1, "test": 1}
    with pytest.raises(DataError, match="the val split has 1 token, and at least 2 are needed"):
        data.loader("val", preprocessor)


def test_line_ends_of_windows_are_line_ends(tmp_path):
    """Otherwise every line has one more character, which is easy to predict, and prompts have line ends that the model does not know."""
    text = "".join(f"line {row}\n\n" for row in range(100))
    for name, mark in (("unix", "\n"), ("windows", "\r\n"), ("old", "\r")):
        (tmp_path / name).write_bytes(text.replace("\n", mark).encode())
        data, preprocessor = stream(tmp_path / name)
        assert "".join(piece for part in data.sizes for piece in data.pieces(part)) == text
        assert "\r" not in preprocessor.tokenizer.ids


def test_some_windows_of_a_row_are_others_in_every_epoch(tmp_path):
    """With `steps_per_epoch` a recurrent model read the beginnings of the rows alone."""
    windows = ConsecutiveWindows(torch.arange(2001), 10, 4, shuffle=True, steps=3)
    seen = torch.cat([batch["labels"].flatten() for _ in range(300) for batch in windows])
    assert len(windows) == 3 and 1950 < seen.max() <= 2000 and len(seen.unique()) > 1800
    batches = list(windows)
    assert all(torch.equal(a["labels"][:, -1:], b["input_ids"][:, :1]) for a, b in zip(batches, batches[1:]))


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        stream(tmp_path / "absent.txt")


def test_another_text_need_not_have_a_training_part(book):
    """A stored model is measured on other texts as a whole."""
    _, preprocessor = stream(book)
    other = TextFile(book, "language_modeling", "text_file", 1, split={"train": 0, "val": 0, "test": None})
    assert other.stream("test", preprocessor).characters == len(book.read_text(encoding="utf-8"))
    assert other.loader("train", preprocessor) is None
    with pytest.raises(DataError, match="dataset.split.train"):
        make_preprocessor(None, other)
