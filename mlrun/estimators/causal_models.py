"""Frozen language models for prompting: a run of `gpt`, or a published checkpoint through `transformers`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlrun.errors import ConfigError, UserError
from mlrun.predictions.learner import load_learner

ROWS = 8  # texts that are read at once


class CausalModel(ABC):
    """A language model that scores and continues texts. limit: tokens that it reads at most. cut: tokens of the longest prompt that had more."""

    limit: int
    cut = 0

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a text, as at its beginning."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""

    @abstractmethod
    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(rows, tokens) int64 padded on the right, and where there are tokens -> (rows, tokens, vocabulary), of the token after each."""

    @torch.inference_mode()
    def continuations(self, prompts: Sequence[str], endings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(log-probability, number of tokens) of each ending after its prompt, (rows,) both. A prompt that is too long loses its beginning."""
        rows = []
        for prompt, ending in zip(prompts, endings):
            before, whole = self.encode(prompt), self.encode(prompt + ending)
            shared = next((at for at, (a, b) in enumerate(zip(before, whole)) if a != b), min(len(before), len(whole)))
            shared = min(shared, len(whole) - 1)
            surplus = max(0, len(whole) - self.limit)
            self.cut = max(self.cut, len(whole) if surplus else 0)
            rows.append((whole[surplus:], max(1, shared - surplus)))
        # endings of one token need only the scores after their prompt, which they share
        readers: dict[tuple[int, ...], list[int]] = {}
        for row, (tokens, _) in enumerate(rows):
            readers.setdefault(tuple(tokens[:-1]), []).append(row)
        inputs = sorted(filter(None, readers), key=len)  # without a token before it, an ending has no probability
        sums, counts = np.zeros(len(rows)), np.ones(len(rows), dtype=np.int64)
        for start in range(0, len(inputs), ROWS):
            read = inputs[start : start + ROWS]
            for given, scores in zip(read, self.logits(*padded(read))):
                for row in readers[given]:
                    tokens, first = rows[row]
                    target = torch.tensor(tokens[first:])
                    shares = scores[first - 1 : len(given)].float().log_softmax(-1)
                    sums[row], counts[row] = float(shares.gather(-1, target[:, None]).sum()), len(target)
        return sums, counts

    @torch.inference_mode()
    def generate(self, prompt: str, length: int) -> str:
        """The most probable continuation of at most `length` tokens, up to the end of its line."""
        ids = self.encode(prompt)[-(self.limit - length) :]
        made: list[int] = []
        for _ in range(length):
            given, mask = padded([[*ids, *made]])
            made.append(int(self.logits(given, mask)[0, -1].argmax()))
            if "\n" in self.decode(made):
                break
        return self.decode(made).partition("\n")[0]


class OwnModel(CausalModel):
    """The language model of a run.

    Args:
        learner: whose task is `LanguageModeling`.
    """

    def __init__(self, learner: Any):
        self.learner = learner
        self.network, self.tokenizer = learner.task.network.eval(), learner.preprocessor.tokenizer
        self.limit = getattr(self.network, "context_length", 512)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.network(ids, None)[0]


class PublishedModel(CausalModel):
    """A causal model of `transformers`, from a directory with `config.json` or a .gguf file.

    Args:
        folder: see `mlrun.data.published.directory_of`.
        where: key and source, for messages.

    Raises:
        ConfigError: transformers (for .gguf also gguf) is not installed, or cannot read the files.
    """

    def __init__(self, folder: Path, where: str):
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise ConfigError(f"{where}: needs transformers: pip install 'mlrun[hub]'") from None
        files = sorted(folder.glob("*.gguf")) if not (folder / "config.json").is_file() else []
        options: dict[str, Any] = {"gguf_file": files[0].name} if files else {}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **options)
            self.network = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, **options
            ).eval()
        except (ImportError, OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{where}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        self.limit = int(getattr(self.network.config, "max_position_embeddings", 1024))

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.network(input_ids=ids, attention_mask=mask.long()).logits


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(rows, longest) ids padded with 0 on the right, and where there are tokens."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) < lengths[:, None]


def open_causal_model(source: str, policy: str, trust: bool, key: str) -> CausalModel:
    """The language model that a source of weights names: a run, or a published checkpoint, see `mlrun.data.published`.

    Raises:
        ConfigError: there is none, or its model does not predict next tokens.
    """
    from mlrun.adapt.sources import find_weights
    from mlrun.data.published import directory_of, is_published
    from mlrun.training.adapting import find_run

    if is_published(source):
        return PublishedModel(directory_of(source, policy, key), f"{key}={source}")
    try:
        learner: Any = load_learner(find_weights(source, find_run, key).parent, trust)
    except UserError as error:
        raise ConfigError(str(error)) from None
    if not hasattr(getattr(learner, "task", None), "continuation"):
        raise ConfigError(f"{key}={source}: this model does not predict the next token; give a run of gpt")
    return OwnModel(learner)
