"""A long text as a stream of tokens, for language models: a file of any size, Python's documentation, tiny Shakespeare."""

from __future__ import annotations

import hashlib
import mmap
from codecs import BOM_UTF8
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Text
from mlrun.data.module import DataModule
from mlrun.data.readers.download import data_directory, fetch
from mlrun.data.splits import PARTS, part_sizes
from mlrun.data.text_pieces import PIECE, Buffer, TextPieces, character_boundary
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.preprocess.streams import StreamPreprocessor, TokenStream
    from mlrun.data.text_windows import ConsecutiveWindows, RandomWindows

PROMPTS, PROMPT_LENGTH = 5, 32  # number and length in characters of sample prompts, which are beginnings of lines
SAMPLED = 10_000  # characters of a part from which prompts are taken


class TextStream(DataModule):
    """A text, divided in order into train, val and test. A subclass returns the text from `buffer()`.

    The rows of `examples` are pieces of the text of a few MiB; `sizes` counts bytes. The preprocessor tokenizes a part.

    Args:
        tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`.
        context_length: tokens of a training window.
        steps_per_epoch: batches of an epoch; None: one pass over the training part.
        resident_limit: largest part in bytes of tokens that is held on the device.
        problem, name, seed, options: see `DataModule`; split: fractions or numbers of bytes, in the order train, val, test.
    """

    preprocessor: ClassVar[str] = "mlrun.data.preprocess.streams.StreamPreprocessor"

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        tokenizer: dict[str, Any] | None = None,
        context_length: int = 64,
        steps_per_epoch: int | None = None,
        resident_limit: int = 2**28,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if problem != "language_modeling":
            raise DataError(f"dataset.problem={problem}: {name} is a text for language_modeling")
        if not isinstance(context_length, int) or context_length < 1:
            raise DataError(f"dataset.context_length={context_length}: give a whole number of at least 1")
        self.preprocessing["tokenizer"] = tokenizer
        self.context_length, self.steps_per_epoch, self.resident_limit = context_length, steps_per_epoch, resident_limit
        self._pieces: dict[str, TextPieces] | None = None
        self._streams: dict[str, tuple[StreamPreprocessor, TokenStream]] = {}  # with the preprocessor that made it

    def buffer(self) -> Buffer:
        """The whole text in UTF-8: bytes, or a memory-mapped file, which is read on slicing."""
        raise NotImplementedError

    def identity(self) -> str | None:
        """Key of the text and its version, if results computed from it may be cached on disk."""
        return None

    def prepare(self) -> None:
        if self._pieces is not None:
            return
        buffer = self.buffer()
        unknown = [key for key in self.split if key not in (*PARTS, "seed", "stratify")]
        if unknown:
            raise DataError(f"dataset.split.{unknown[0]}: the parts of a text are {', '.join(PARTS)}, in this order")
        first = len(BOM_UTF8) if buffer[: len(BOM_UTF8)] == BOM_UTF8 else 0
        sizes = part_sizes(self.split, len(buffer) - first, self.title)
        ends = [character_boundary(buffer, first + int(end)) for end in np.cumsum([sizes[part] for part in PARTS])]
        identity = self.identity()
        self._pieces = {
            part: TextPieces(buffer, start, end, self.title, identity)
            for part, start, end in zip(PARTS, [first, *ends], ends)
        }

    def pieces(self, part: str) -> TextPieces:
        """The text of a part."""
        self.prepare()
        return self._pieces[part]

    @property
    def features(self) -> dict[str, Feature]:
        return {"text": Text()}

    def examples(self, part: str) -> Examples:
        return Examples({"text": self.pieces(part)}, self.features)

    @property
    def sizes(self) -> dict[str, int]:
        return {part: self.pieces(part).end - self.pieces(part).start for part in PARTS}

    def stream(self, part: str, preprocessor: StreamPreprocessor) -> TokenStream:
        """The tokens of a part. Raises DataError if there is a single one, which leaves nothing to predict."""
        cached = self._streams.get(part)
        if cached is not None and cached[0] is preprocessor:
            return cached[1]
        stream = preprocessor.stream(self.pieces(part))
        if part != "train" and self.sizes[part] and len(stream.tokens) < 2:
            raise DataError(
                f"{self.title}: the {part} split has {len(stream.tokens)} token{'s' * (len(stream.tokens) != 1)}, and at least 2 are needed; "
                f"enlarge dataset.split.{part}"
            )
        self._streams[part] = preprocessor, stream
        return stream

    def _training_tokens(self, preprocessor: StreamPreprocessor) -> np.ndarray:
        """Raises DataError if there are fewer tokens than a window and its next token."""
        tokens = self.stream("train", preprocessor).tokens
        if len(tokens) <= self.context_length:
            raise DataError(
                f"{self.title}: {len(tokens):,} training tokens, fewer than dataset.context_length={self.context_length} "
                f"plus one"
            )
        return tokens

    @property
    def items_per_batch(self) -> int:
        return self.batch_size * self.context_length

    @property
    def spec(self) -> dict[str, Any]:
        return {"context_length": self.context_length}

    @cached_property
    def digest(self) -> str:
        digest, buffer = hashlib.blake2b(digest_size=8), self.buffer()
        for start in range(0, len(buffer), PIECE):
            digest.update(buffer[start : start + PIECE])
        return digest.hexdigest()

    def sample(self, part: str) -> Examples:
        """Beginnings of lines of the part, as prompts."""
        text = next(iter(self.pieces(part)), "")[:SAMPLED]
        lines = [line.strip()[:PROMPT_LENGTH] for line in text.splitlines() if len(line.strip()) >= 8]
        prompts = (lines or [text[:PROMPT_LENGTH]])[:PROMPTS]
        return Examples({"text": np.array(prompts, dtype=object)}, self.features)

    def loader(
        self,
        part: str,
        preprocessor: StreamPreprocessor,  # type: ignore[override]  # `DataModule.preprocessor` guarantees the class
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> ConsecutiveWindows | None:
        """Batches of consecutive windows: row i of a batch continues row i of the previous batch. None for a part of fewer than two tokens."""
        from mlrun.data.text_windows import ConsecutiveWindows

        trains = shuffle and part == "train"
        tokens = self._training_tokens(preprocessor) if trains else self.stream(part, preprocessor).tokens
        if len(tokens) < 2:
            return None
        rows = self.batch_size if shuffle else max(self.batch_size, 64)
        steps = self.steps_per_epoch if shuffle else None
        return ConsecutiveWindows(
            self._on(device, tokens), self.context_length, rows, device, shuffle, self.seed, shard, steps
        )

    def random_windows(
        self, preprocessor: StreamPreprocessor, device: torch.device | str = "cpu", shard: tuple[int, int] = (0, 1)
    ) -> RandomWindows:
        """Batches of training windows at random positions."""
        from mlrun.data.text_windows import RandomWindows

        tokens = self._training_tokens(preprocessor)
        steps = self.steps_per_epoch or max(1, len(tokens) // (self.batch_size * self.context_length))
        return RandomWindows(
            self._on(device, tokens), self.context_length, self.batch_size, steps, device, self.seed, shard
        )

    def _on(self, device: torch.device | str, tokens: np.ndarray) -> torch.Tensor | np.ndarray:
        """A tensor on the device if it is small enough, else the array itself."""
        if 4 * len(tokens) > self.resident_limit:
            return tokens
        import torch

        return torch.from_numpy(tokens.astype(np.int32)).to(device)


class TextFile(TextStream):
    """Any UTF-8 text: `path`, or null for Python's bundled documentation (`pydoc_data.topics`).

    A large file is decoded a few MiB at a time, and its tokens are stored in a memory-mapped file.
    """

    def __init__(self, path: str | None, problem: str, name: str, seed: int, **options: Any):
        super().__init__(problem, name, seed, **options)
        self.path = None if path is None else Path(path).expanduser()
        self.title = name if path is None else str(path)
        self._buffer: Buffer | None = None

    @property
    def source(self) -> str:
        return "pydoc_data.topics" if self.path is None else self.title

    def buffer(self) -> Buffer:
        if self._buffer is None:
            self._buffer = python_topics() if self.path is None else _mapped(self.path)
        return self._buffer

    def identity(self) -> str | None:
        if self.path is None:
            return None
        status = self.path.stat()
        return f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns}"


def _mapped(path: Path) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            if path.stat().st_size == 0:
                raise DataError(f"{path}: the file is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); dataset.path is a text file") from None


def python_topics() -> bytes:
    """Help texts of Python's language reference, in an order that mixes the subjects. Paragraphs shared by several topics are
    kept once, so that the parts of the text do not overlap."""
    from pydoc_data.topics import topics

    kept: dict[str, None] = {}
    for name in sorted(topics, key=lambda name: hashlib.md5(name.encode()).digest()):
        kept.update(dict.fromkeys(paragraph.strip("\n") for paragraph in topics[name].split("\n\n")))
    kept.pop("", None)
    return "\n\n".join(kept).encode()


class TinyShakespeare(TextStream):
    """1,115,394 characters of Shakespeare's plays, 65 distinct ones (Karpathy 2015)."""

    ADDRESS = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
    MD5 = "6fb458f1232090904fb40fe944165e91"

    def __init__(self, problem: str, name: str, seed: int, data_dir: str | None, **options: Any):
        super().__init__(problem, name, seed, **options)
        self.data_dir = data_dir
        self._source = ""
        self._buffer: Buffer | None = None

    @property
    def source(self) -> str:
        return self._source

    def buffer(self) -> Buffer:
        if self._buffer is None:
            root = data_directory(self.data_dir)
            places = [root / "tinyshakespeare" / "input.txt", root / "tinyshakespeare.txt"]
            path = next((place for place in places if place.is_file()), None)
            if path is None:
                path = places[0]
                fetch({"input.txt": self.MD5}, (self.ADDRESS,), path.parent, "tinyshakespeare")
            self._source, self._buffer = str(path), _mapped(path)
        return self._buffer
