"""Texts as streams of tokens: parts, windows, mapped files; what a file may not be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.data.datasets import text_file
from mlrun.data.datasets.text_file import TextFile
from mlrun.data.preprocess.tokenizer import UNK
from mlrun.errors import DataError


def stream(path=None, **options):
    data = TextFile(path, "language_modeling", "text_file", 1, **{"context_length": 8, "batch_size": 4, **options})
    data.prepare()
    return data


def decoded(data, part):
    return data.tokenizer.decode(data.tokens(part))


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("".join(f"line {i}: naïve 漢字 {i * i}\n" for i in range(400)), encoding="utf-8")
    return path


def test_parts_are_the_text_in_its_order(book):
    data = stream(book, split={"train": 0.7, "val": 0.2, "test": 0.1})
    assert "".join(decoded(data, part) for part in ("train", "val", "test")) == book.read_text(encoding="utf-8")
    assert data.tokens("train").dtype == np.uint16 and data.tokens_per_character("val") == 1.0
    assert data.digest == stream(book).digest and data.spec.facts == {
        "vocab_size": len(data.tokenizer),
        "context_length": 8,
    }


def test_the_vocabulary_is_of_the_training_part(tmp_path):
    (tmp_path / "t.txt").write_text("ab" * 100 + "z" * 20, encoding="utf-8")
    data = stream(tmp_path / "t.txt", split={"train": 200, "val": 10, "test": 10})
    assert set(data.tokens("val")) == {UNK} and len(data.tokenizer) == 6


def test_a_large_file_is_mapped_and_gives_the_same_tokens(book, tmp_path, monkeypatch):
    small = stream(book)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(text_file, "ON_DISK", 100)
    monkeypatch.setattr(text_file, "CHUNK", 1000)
    for _ in range(2):  # made, then found again
        large = stream(book, resident_limit=0)
        assert isinstance(large.stream.tokens, np.memmap) and large.tokenizer.state == small.tokenizer.state
        np.testing.assert_array_equal(large.tokens("val"), small.tokens("val"))
        for one, other in zip(large.random_windows(), small.random_windows()):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("kind", ["words", "bpe", "wordpiece"])
def test_other_tokens(book, kind):
    data = stream(book, tokenizer={"kind": kind, "size": 300})
    assert data.spec.facts["vocab_size"] <= 300 and 0 < data.tokens_per_character("val") < 1


def test_windows_are_shifted_by_one(book):
    data = stream(book)
    tokens = torch.from_numpy(data.tokens("train").astype(np.int64))
    batches = data.random_windows()
    assert len(list(batches)) == len(batches) == len(tokens) // 32
    text = data.tokenizer.decode(tokens)
    for x, y in batches:
        assert torch.equal(x[:, 1:], y[:, :-1]) and data.tokenizer.decode(x[0]) in text


def test_consecutive_windows_cover_the_part_and_go_on_row_by_row(book):
    data = stream(book)
    tokens = torch.from_numpy(data.tokens("val").astype(np.int64))
    x, y = (torch.cat(parts, 1) for parts in zip(*data.loader("val")))
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert torch.equal(x.flatten(), tokens[: x.numel()]) and len(tokens) - x.numel() <= len(x)
    first, second = list(data.loader("train", shuffle=True)), data.loader("train", shuffle=True)
    assert all(torch.equal(a[1][:, -1:], b[0][:, :1]) for a, b in zip(first, first[1:]))
    list(second)
    assert not torch.equal(next(iter(second))[0], first[0][0])  # every epoch begins elsewhere


def test_the_order_is_resumed(book):
    for make in (lambda: stream(book).random_windows(), lambda: stream(book).loader("train", shuffle=True)):
        whole, broken = make(), make()
        expected = [x for _ in range(2) for x, _ in whole]
        reader, seen = iter(broken), []
        for _ in range(3):
            seen.append(next(reader)[0])
        again = make()
        again.load_state_dict(broken.state_dict())
        seen += [x for _ in range(2) for x, _ in again]
        assert all(torch.equal(a, b) for a, b in zip(expected, seen, strict=True))


def test_the_default_text_repeats_nothing():
    paragraphs = text_file.python_topics().decode().split("\n\n")
    assert len(paragraphs) == len(set(paragraphs)) > 1000


@pytest.mark.parametrize(
    "content, message",
    [(b"", "empty"), (b"abc\n\xff\xfe" * 50, "line 2: not UTF-8"), (b"abc", "fewer than dataset.context_length")],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        stream(tmp_path / "t.txt")


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        stream(tmp_path / "absent.txt")
