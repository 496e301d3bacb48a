"""Language models: the next token from those before it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.steps import NoDecay, Step
from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.tokenizer import PAD
from mlrun.evaluation import metrics as measures
from mlrun.generation.decoding import sample
from mlrun.tasks.task import Task

log = logging.getLogger("mlrun")


class LanguageModeling(Task):
    """Minimizes the mean negative log probability of each next token.

    Args:
        network: (tokens, state) -> (logits, state), see `mlrun.networks.text.language_models`.
        reading: "random": windows that begin anywhere, nothing carried over; "consecutive": a text read row by row, the state carried from
            window to window and the gradient cut between them (truncated back-propagation through time, Williams and Peng 1990).
        decay_matrices_only: weight decay acts on matrices, not on biases and gains.
        sample_length, temperature, top_k, top_p: of the texts written to figures/samples.txt whenever validation improved, and of answers to
            prompts; top_k keeps the most probable tokens, top_p the fewest that make up this probability.
        sample_seed: of those texts: the same weights write the same text.
    """

    monitor, mode = "val/perplexity", "min"

    def __init__(
        self,
        network: nn.Module,
        reading: Literal["random", "consecutive"] = "random",
        decay_matrices_only: bool = False,
        sample_length: int = 200,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        sample_seed: int = 0,
    ):
        super().__init__()
        self.network, self.reading, self.decay_matrices_only = network, reading, decay_matrices_only
        self.sample_length, self.temperature, self.top_k, self.top_p = sample_length, temperature, top_k, top_p
        self.sample_seed = sample_seed
        self._state = None  # carried from batch to batch
        self._best = math.inf

    def train_loader(self, data, device, shard):
        if self.reading == "random":
            return data.random_windows(device, shard)
        return data.loader("train", device, shuffle=True, shard=shard)

    def own_steps(self) -> Sequence[Step]:
        return (NoDecay(),) if self.decay_matrices_only else ()

    def _loss(self, batch, state) -> tuple[Tensor, object]:
        x, y = batch
        logits, state = self.network(x, state)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten()), detached(state)

    def on_train_epoch_start(self):
        self._state = None

    def training_step(self, batch, batch_index):
        loss, state = self._loss(batch, self._state)
        if self.reading == "consecutive":
            self._state = state
        self.tally("train", batch[1].numel(), loss=loss.detach().float() * batch[1].numel())
        return loss

    def on_validation_epoch_start(self):
        self._carried, self._state = self._state, None

    def validation_step(self, batch, batch_index):
        loss, state = self._loss(batch, self._state)
        if self.reading == "consecutive":
            self._state = state
        self.tally("val", batch[1].numel(), loss=loss.float() * batch[1].numel())

    def on_validation_epoch_end(self):
        self._state = self._carried
        metrics = self.epoch_metrics("val")
        self.log_dict(metrics)
        if metrics.get(self.monitor, math.inf) < self._best and self.trainer.is_global_zero:
            self._best = metrics[self.monitor]
            self._write_sample(self._best)

    def epoch_metrics(self, stage):
        means = self.means(stage)
        if not means:
            return {}
        metrics = measures.language_modeling(means["loss"], self.data.tokens_per_character(stage))
        return {f"{stage}/{name}": value for name, value in metrics.items()}

    @torch.inference_mode()
    def evaluate(self, loader, data):
        total, count, state = torch.zeros((), dtype=torch.float64, device=self.device), 0, None
        for batch in loader:
            loss, carried = self._loss(batch, state)
            state = carried if self.reading == "consecutive" else None
            total += loss.double() * batch[1].numel()
            count += batch[1].numel()
        return measures.language_modeling(total.item() / count, loader.tokens_per_character)

    def _write_sample(self, value: float) -> None:
        text = self.data.tokenizer.decode(self.continuation(self.data.tokenizer.encode("\n") or [PAD]))
        heading = f"epoch {self.current_epoch + 1}, validation perplexity {value:.3f}"
        log.info("sample, %s: %s", heading, text)
        path = Path(self.trainer.default_root_dir) / "figures" / "samples.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"--- {heading}\n{text}\n\n")

    @torch.inference_mode()
    def continuation(self, prompt: list[int]) -> list[int]:
        """Tokens that the network goes on with after a prompt of at least one token."""
        training = self.training
        self.eval()
        generator = torch.Generator(self.device).manual_seed(self.sample_seed)
        prompt = torch.tensor([prompt], device=self.device)
        written = sample(
            Writer(self.network), None, prompt, self.sample_length, self.temperature, self.top_k, self.top_p, generator
        )
        self.train(training)
        return written.tokens[0].tolist()

    def answer(self, rows, transform) -> np.ndarray:
        """(rows,) texts: how the network goes on after each prompt, the same every time it is asked."""
        tokenizer = transform.tokenizer
        prompts = [tokenizer.encode(text) or [PAD] for text in as_texts(rows)]
        return np.array([tokenizer.decode(self.continuation(prompt)) for prompt in prompts], dtype=object)


def detached(state):
    """The same state without its history; tuples and lists of tensors, to any depth."""
    if isinstance(state, Tensor):
        return state.detach()
    return None if state is None else type(state)(detached(part) for part in state)


class Writer:
    """A language model as `mlrun.generation.decoding` asks for it. The state: that of the network, how many tokens it holds, all tokens (rows, length).

    A network whose context is full reads the second half of it again, from its first position on.
    """

    def __init__(self, network: nn.Module):
        self.network, self.limit = network, getattr(network, "context_length", None)

    def start(self, memory=None):
        return self._fresh(), 0, None

    def _fresh(self):
        return self.network.start() if hasattr(self.network, "start") else None

    def step(self, tokens: Tensor, state):
        inner, held, seen = state
        seen = tokens if seen is None else torch.cat([seen, tokens], 1)
        if self.limit is not None and held + tokens.shape[1] > self.limit:
            inner, held, tokens = self._fresh(), 0, seen[:, -max(1, self.limit // 2) :]
        logits, inner = self.network(tokens, inner)
        return logits[:, -1], (inner, held + tokens.shape[1], seen)
