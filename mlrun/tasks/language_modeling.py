"""Language models: the next token from those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.step import Step
from mlrun.adapt.steps import NoDecay
from mlrun.data.batches import Batch, Batches
from mlrun.data.datasets.text_file import TextStream
from mlrun.data.preprocess.streams import StreamPreprocessor
from mlrun.evaluation import metrics as measures
from mlrun.evaluation.evaluator import Better
from mlrun.generation.decoding import sample
from mlrun.tasks.task import Loss, Outputs, Task


class LanguageModeling(Task):
    """Minimizes the mean negative log probability of each next token.

    Args:
        network: (tokens, state) -> (logits, state), see `mlrun.networks.text.language_models`.
        reading: "random": windows that begin anywhere, without a state; "consecutive": the text row by row, the state carried from window
            to window and the gradient cut between them (truncated back-propagation through time, Williams and Peng 1990).
        decay_matrices_only: weight decay acts on matrices, not on biases and gains.
        sample_length: tokens of a continuation.
        temperature: of the softmax that tokens are drawn from; 0 takes the most probable one.
        top_k: draw among the so many most probable tokens only.
        top_p: draw among the fewest tokens that together have this probability.
        sample_seed: of the generator, anew for each prompt: the same weights continue a prompt in the same way.
    """

    metrics = {"loss": Better.SMALLER, "perplexity": Better.SMALLER, "bits_per_character": Better.SMALLER}
    monitor = "perplexity"
    data: TextStream | None
    preprocessor: StreamPreprocessor | None
    network: Any
    queries: ClassVar[Mapping[str, str]] = {"prompt": "mlrun.predictions.prompt.Prompt"}

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
        self._state: Any = None  # carried from window to window
        self._state_of_training: Any = None  # kept during a validation

    def train_loader(  # type: ignore[override]  # no other dataset has this problem
        self, data: TextStream, device: torch.device, shard: tuple[int, int]
    ) -> Batches:
        if self.reading == "random":
            return data.random_windows(self.preprocessor, device, shard)
        return super().train_loader(data, device, shard)

    def own_steps(self) -> Sequence[Step]:
        return (NoDecay(),) if self.decay_matrices_only else ()

    def start_text(self) -> None:
        """Forgets the state: the next batch is the beginning of a text."""
        self._state = None

    def loss(self, batch: Batch) -> Loss:
        """Of a window and, in consecutive reading, the state that the window before it left."""
        logits, state = self.network(batch["input_ids"], self._state)
        if self.reading == "consecutive":
            self._state = detached(state)
        labels = batch["labels"]
        return Loss(F.cross_entropy(logits.flatten(0, 1), labels.flatten()), labels.numel())

    def on_train_epoch_start(self) -> None:
        self.start_text()

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._state_of_training, self._state = self._state, None

    def on_validation_epoch_end(self) -> None:
        self._state, self._state_of_training = self._state_of_training, None
        super().on_validation_epoch_end()

    def epoch_metrics(self, stage: str) -> dict[str, float]:
        metrics = super().epoch_metrics(stage)
        loss = metrics.get(f"{stage}/loss")
        if loss is None:
            return metrics
        ratio = self.data.stream(stage, self.preprocessor).tokens_per_character
        of_text = measures.language_modeling(loss, ratio)
        return metrics | {f"{stage}/{name}": value for name, value in of_text.items()}

    def predict(self, batch: Batch) -> Outputs:
        """`sequences`: the tokens (sample_length,) with which each prompt is continued."""
        lengths = batch["attention_mask"].sum(1).tolist()
        prompts = [ids[:length].tolist() for ids, length in zip(batch["input_ids"], lengths)]
        return {"sequences": [self.continuation(prompt) for prompt in prompts]}

    @torch.inference_mode()
    def continuation(self, prompt: Sequence[int]) -> Tensor:
        """(sample_length,) tokens after a prompt of at least one token; in evaluation mode the same every time."""
        generator = torch.Generator(self.device).manual_seed(self.sample_seed)
        return sample(
            CachedDecoder(self.network),
            None,
            torch.tensor([list(prompt)], device=self.device),
            self.sample_length,
            self.temperature,
            self.top_k,
            self.top_p,
            generator,
        ).tokens[0]


def detached(state: Any) -> Any:
    """The same state without its history; tuples and lists of tensors, to any depth."""
    if isinstance(state, Tensor):
        return state.detach()
    return None if state is None else type(state)(detached(part) for part in state)


class CachedDecoder:
    """A language model behind the interface of `mlrun.generation.decoding`.

    Its state: that of the network, how many tokens it holds, and all tokens (rows, length). A network whose context is full starts
    again with the second half of it, from the first position on.
    """

    def __init__(self, network: Any):
        self.network, self.limit = network, getattr(network, "context_length", None)

    def start(self, memory: Any = None) -> tuple[Any, int, Tensor | None]:
        return self._fresh(), 0, None

    def _fresh(self) -> Any:
        return self.network.start() if hasattr(self.network, "start") else None

    def step(
        self, tokens: Tensor, state: tuple[Any, int, Tensor | None]
    ) -> tuple[Tensor, tuple[Any, int, Tensor | None]]:
        inner, held, seen = state
        seen = tokens if seen is None else torch.cat([seen, tokens], 1)
        if self.limit is not None and held + tokens.shape[1] > self.limit:
            inner, held, tokens = self._fresh(), 0, seen[:, -max(1, self.limit // 2) :]
        logits, inner = self.network(tokens, inner)
        return logits[:, -1], (inner, held + tokens.shape[1], seen)
