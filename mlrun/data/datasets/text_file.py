"""One long text as a stream of tokens, for language models: a file of any size, Python's own documentation, tiny Shakespeare."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mlrun.data.module import Arrays, DataModule
from mlrun.data.preprocess.text import TextEncoding, as_texts
from mlrun.data.preprocess.tokenizer import Tokenizer
from mlrun.data.readers.download import data_directory, fetch
from mlrun.data.splits import PARTS, part_sizes
from mlrun.errors import DataError

CHUNK = 2**22  # bytes of text that are Python strings at a time
ON_DISK = 2**26  # bytes of text from which on the tokens are kept in a file, and read from there as they are needed
PROMPTS, PROMPT_LENGTH = 5, 32  # of an example: beginnings of lines, in characters


@dataclass
class Stream:
    """tokens: (tokens,) uint16 or int32, in memory or mapped from a file; bounds, characters: of each part."""

    tokens: np.ndarray
    bounds: dict[str, tuple[int, int]]
    characters: dict[str, int]


class TextStream(DataModule):
    """A text, cut in order into train, val and test; the vocabulary is taken from the training part alone.

    tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`. context_length: tokens of a training window.
    steps_per_epoch: batches of an epoch; None: as many as show the training part once.
    split: shares or numbers of bytes, first train, then val, then test. A subclass gives the text as `buffer()`.
    """

    def __init__(
        self,
        problem,
        name,
        seed,
        tokenizer=None,
        context_length=64,
        steps_per_epoch=None,
        resident_limit=2**28,
        **options,
    ):
        super().__init__(problem, name, seed, **options)
        if problem != "language_modeling":
            raise DataError(f"dataset.problem={problem}: {name} is a text for language_modeling")
        if not isinstance(context_length, int) or context_length < 1:
            raise DataError(f"dataset.context_length={context_length}: give a whole number of at least 1")
        self.settings = {"kind": "characters", **(tokenizer or {})}
        self.context_length, self.steps_per_epoch, self.resident_limit = context_length, steps_per_epoch, resident_limit
        self.tokenizer, self.stream = None, None

    def buffer(self) -> bytes | mmap.mmap:
        """The whole text in UTF-8: bytes, or a mapped file, which is read where it is sliced."""
        raise NotImplementedError

    def cache(self) -> str | None:
        """Names the text and its state, if its tokens may be kept on disk."""
        return None

    def prepare(self):
        if self.stream is not None:
            return
        buffer = self.buffer()
        unknown = [key for key in self.split if key not in (*PARTS, "seed", "stratify")]
        if unknown:
            raise DataError(
                f"dataset.split.{unknown[0]}: the parts of a text are {', '.join(PARTS)}, one after the other"
            )
        sizes = part_sizes(self.split, len(buffer), self.title)
        ends = np.cumsum([sizes[part] for part in PARTS]).tolist()
        ends = [_boundary(buffer, end) for end in ends]
        spans = dict(zip(PARTS, zip([0, *ends], ends)))
        if spans["train"][1] == 0:
            raise DataError(f"{self.title}: there is no text to learn from (dataset.split.train)")
        name = self.cache() if len(buffer) >= ON_DISK else None
        if name is None:
            self.tokenizer = self._train(buffer, spans)
            self.stream = self._tokenize(buffer, spans)
        else:
            self._from_disk(name, buffer, spans)
        first, last = self.stream.bounds["train"]
        if last - first <= self.context_length:
            raise DataError(
                f"{self.title}: {last - first:,} tokens to learn from, fewer than dataset.context_length={self.context_length} and one more"
            )

    def _train(self, buffer, spans) -> Tokenizer:
        return Tokenizer.train(chunks(buffer, *spans["train"], self.title), **self.settings)

    def _tokenize(self, buffer, spans, file=None) -> Stream:
        """Tokens of all parts, in memory or appended to `file`."""
        kind = np.uint16 if len(self.tokenizer) <= 2**16 else np.int32
        pieces, bounds, characters, count = [], {}, {}, 0
        for part, (start, end) in spans.items():
            first, characters[part] = count, 0
            for text in chunks(buffer, start, end, self.title):
                ids = self.tokenizer.encode_array(text).astype(kind)
                pieces.append(ids) if file is None else ids.tofile(file)
                count, characters[part] = count + len(ids), characters[part] + len(text)
            bounds[part] = (first, count)
        return Stream(np.concatenate(pieces) if file is None else None, bounds, characters)

    def _from_disk(self, name, buffer, spans) -> None:
        """Tokens of an earlier run on the same text with the same settings, else made now; written aside and renamed."""
        from pooch import os_cache

        key = hashlib.blake2b(json.dumps([name, spans, self.settings]).encode(), digest_size=12).hexdigest()
        folder = Path(os_cache("mlrun")) / "tokens"
        tokens, facts = folder / f"{key}.bin", folder / f"{key}.json"
        if not (facts.is_file() and tokens.is_file()):
            folder.mkdir(parents=True, exist_ok=True)
            self.tokenizer = self._train(buffer, spans)
            beside = folder / f"{key}.{os.getpid()}"
            with open(beside, "wb") as file:
                stream = self._tokenize(buffer, spans, file)
            os.replace(beside, tokens)
            beside.write_text(
                json.dumps(
                    {"tokenizer": self.tokenizer.state, "bounds": stream.bounds, "characters": stream.characters}
                )
            )
            os.replace(beside, facts)
        known = json.loads(facts.read_text())
        self.tokenizer = Tokenizer.from_state(known["tokenizer"])
        kind = np.uint16 if len(self.tokenizer) <= 2**16 else np.int32
        bounds = {part: tuple(bound) for part, bound in known["bounds"].items()}
        self.stream = Stream(np.memmap(tokens, dtype=kind, mode="r"), bounds, known["characters"])

    def tokens(self, part) -> np.ndarray:
        """(tokens,) of a part."""
        self.prepare()
        start, end = self.stream.bounds[part]
        return self.stream.tokens[start:end]

    def tokens_per_character(self, part) -> float:
        self.prepare()
        start, end = self.stream.bounds[part]
        return (end - start) / max(1, self.stream.characters[part])

    @property
    def sizes(self):
        self.prepare()
        return {part: end - start for part, (start, end) in self.stream.bounds.items()}

    @property
    def inputs(self):
        return {"kind": "text"}

    @property
    def positions(self):
        return self.batch_size * self.context_length

    @cached_property
    def spec(self):
        from mlrun.data.spec import Spec

        self.prepare()
        return Spec(self.problem, {"vocab_size": len(self.tokenizer), "context_length": self.context_length})

    @cached_property
    def transform(self):
        self.prepare()
        return TextEncoding(self.tokenizer)

    @cached_property
    def preprocessor(self):
        self.prepare()
        return Tokens(self.tokenizer)

    @cached_property
    def digest(self):
        digest, buffer = hashlib.blake2b(digest_size=8), self.buffer()
        for start in range(0, len(buffer), CHUNK):
            digest.update(buffer[start : start + CHUNK])
        return digest.hexdigest()

    def arrays(self, part):
        """x: the tokens (tokens,), y: how many characters they stand for."""
        tokens = self.tokens(part)
        return Arrays(tokens, self.stream.characters[part], None)

    def example(self, part):
        """A table of one column: beginnings of lines of the part, as prompts."""
        import pandas as pd

        text = self.tokenizer.decode(self.tokens(part)[:10_000])
        lines = [line.strip()[:PROMPT_LENGTH] for line in text.splitlines() if len(line.strip()) >= 8]
        return pd.DataFrame({"text": (lines or [text[:PROMPT_LENGTH]])[:PROMPTS]})

    def loader(self, part, device="cpu", shuffle=False, shard=(0, 1)):
        """Batches of consecutive windows: row i of a batch goes on where row i of the batch before ended. None for a part without two tokens."""
        from mlrun.data.text_windows import ConsecutiveWindows

        tokens = self.tokens(part)
        if len(tokens) < 2:
            return None
        rows = self.batch_size if shuffle else max(self.batch_size, 64)
        steps = self.steps_per_epoch if shuffle else None
        windows = ConsecutiveWindows(
            self._on(device, tokens), self.context_length, rows, device, shuffle, self.seed, shard, steps
        )
        windows.tokens_per_character = self.tokens_per_character(part)
        return windows

    def random_windows(self, device="cpu", shard=(0, 1)):
        """Batches of training windows that begin anywhere."""
        from mlrun.data.text_windows import RandomWindows

        tokens = self.tokens("train")
        steps = self.steps_per_epoch or max(1, len(tokens) // (self.batch_size * self.context_length * shard[1]))
        return RandomWindows(
            self._on(device, tokens), self.context_length, self.batch_size, steps, device, self.seed, shard
        )

    def _on(self, device, tokens):
        """A tensor on the device where that is small enough, else the array as it is."""
        if 4 * len(tokens) > self.resident_limit:
            return tokens
        import torch

        return torch.from_numpy(tokens.astype(np.int32)).to(device)


def _boundary(buffer, at: int) -> int:
    """The first place from `at` on where a character begins."""
    while at < len(buffer) and buffer[at] & 0xC0 == 0x80:
        at += 1
    return at


def chunks(buffer, start: int, end: int, title: str):
    """Yields the text between two bytes in pieces that end with a line where possible. Raises DataError where it is not UTF-8."""
    while start < end:
        stop = min(end, start + CHUNK)
        if stop < end:
            line = buffer[start:stop].rfind(b"\n")
            stop = start + line + 1 if line >= 0 else _boundary(buffer, stop)
        try:
            yield buffer[start:stop].decode("utf-8")
        except UnicodeDecodeError as error:
            line = buffer[: start + error.start].count(b"\n") + 1
            raise DataError(
                f"{title}, line {line}: not UTF-8 ({error.reason}); convert it first, e.g. with iconv"
            ) from None
        start = stop


class Tokens:
    """A scikit-learn step in front of a language model: texts to lists of ids; tokens of a stream pass as they are."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def fit(self, x, y=None):
        return self

    def transform(self, x):
        if isinstance(x, np.ndarray) and x.dtype.kind in "iu":
            return x
        return [self.tokenizer.encode(text) for text in as_texts(x)]

    def fit_transform(self, x, y=None):
        return self.transform(x)


class TextFile(TextStream):
    """Any UTF-8 text: `path`, or null for the documentation that Python carries (`pydoc_data.topics`).

    A large file is never read as a whole: 4 MiB of it are text at a time, and its tokens lie in a mapped file.
    """

    def __init__(self, path, problem, name, seed, **options):
        super().__init__(problem, name, seed, **options)
        self.path = None if path is None else Path(path).expanduser()
        self.title = name if path is None else str(path)
        self.source = "pydoc_data.topics" if path is None else str(path)
        self._buffer = None

    def buffer(self):
        if self._buffer is None:
            self._buffer = python_topics() if self.path is None else _mapped(self.path)
        return self._buffer

    def cache(self):
        about = self.path.stat()
        return f"{self.path.resolve()} {about.st_size} {about.st_mtime_ns}"


def _mapped(path: Path):
    try:
        with open(path, "rb") as file:
            if path.stat().st_size == 0:
                raise DataError(f"{path}: the file is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); dataset.path is a text file") from None


def python_topics() -> bytes:
    """Help texts of Python's language reference, in an order that mixes the subjects. A paragraph that several topics share is kept
    once, so that no part of the text repeats another."""
    from pydoc_data.topics import topics

    kept = {}
    for name in sorted(topics, key=lambda name: hashlib.md5(name.encode()).digest()):
        kept.update(dict.fromkeys(paragraph.strip("\n") for paragraph in topics[name].split("\n\n")))
    kept.pop("", None)
    return "\n\n".join(kept).encode()


class TinyShakespeare(TextStream):
    """1,115,394 characters of Shakespeare's plays, 65 different ones (Karpathy 2015)."""

    ADDRESS = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
    MD5 = "6fb458f1232090904fb40fe944165e91"

    def __init__(self, problem, name, seed, data_dir, **options):
        super().__init__(problem, name, seed, **options)
        self.data_dir, self._buffer = data_dir, None

    def buffer(self):
        if self._buffer is None:
            root = data_directory(self.data_dir)
            places = [root / "tinyshakespeare" / "input.txt", root / "tinyshakespeare.txt"]
            path = next((place for place in places if place.is_file()), None)
            if path is None:
                path = places[0]
                fetch({"input.txt": self.MD5}, (self.ADDRESS,), path.parent, "tinyshakespeare")
            self.source, self._buffer = str(path), _mapped(path)
        return self._buffer
