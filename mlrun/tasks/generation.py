"""Learning a distribution: what models without a target, and generative models among them, share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.networks.layers.torch_internals import lerp_each_
from mlrun.tasks.task import Loss, Task, fixed_copy, same_tensors

CHUNK = 500  # samples drawn at once


def rows_of(batch: Batch) -> Tensor:
    """The rows whose distribution is learned, (batch, *input_shape): the first input."""
    return next(iter(batch.values()))


class Unsupervised(Task):
    """Learns from rows (batch, *input_shape) with a loss that draws random numbers.

    In training these come from `self.random`, a generator on the network's device that every checkpoint contains, so that a resumed run draws
    the same; in validation from a generator with a fixed seed, so that epochs are comparable. A subclass writes `noisy_loss`.

    Args:
        input_shape: of a row as the network sees it: [features] or [channels, height, width].
        show_every: epochs between the pictures that views draw during training; None: about twelve pictures in all.
    """

    validation_seed: ClassVar[int] = 2  # of the first validation batch; each further batch adds 1

    def __init__(self, input_shape: Sequence[int], show_every: int | None = None):
        super().__init__()
        if show_every is not None and show_every < 1:
            raise ValueError(f"show_every={show_every}: must be at least 1, or null")
        self.input_shape, self.show_every = list(input_shape), show_every
        self.random: torch.Generator
        self._restored: Mapping[str, Any] | None = None

    def noisy_loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        """What is minimized for a batch. generator: source of all random numbers, on the network's device."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def training_state(self) -> dict[str, Any]:
        """What a resumed training needs besides weights, optimizers and random numbers: plain containers and tensors."""
        return {}

    def restore_training_state(self, state: Mapping[str, Any]) -> None:
        """Takes what `training_state` returned; optimizers and data exist by then."""

    # --- training -------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Loss:
        return self.noisy_loss(batch, self.random)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.report("val", self.noisy_loss(batch, self.seeded(self.validation_seed + batch_index)))
        if self.validation is not None:
            self.validation.update(batch)

    def seeded(self, seed: int) -> torch.Generator:
        """A new generator on the network's device."""
        return torch.Generator(self.device).manual_seed(seed)

    def on_fit_start(self) -> None:
        self.random = self.seeded(self.data.seed)
        if self._restored is not None:
            self.random.set_state(self._restored["random"].cpu())
            self.restore_training_state(self._restored)
            self._restored = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if hasattr(self, "random"):
            checkpoint["unsupervised"] = {"random": self.random.get_state(), **self.training_state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restored = checkpoint.get("unsupervised")  # applied in `on_fit_start`

    def first_range(self) -> tuple[float, float]:
        """Smallest and largest value that the network sees in the first training batch."""
        x = rows_of(next(iter(self.data.loader("train", self.preprocessor, self.device))))
        return float(x.min()), float(x.max())

    # --- rows in the unit of the data -----------------------------------------------------------------------------

    @property
    def makes_images(self) -> bool:
        """Whether a row is an image."""
        return len(self.input_shape) == 3

    def natural(self, x: Tensor, clip: bool = True) -> np.ndarray:
        """Rows as the network sees them -> pixels from 0 to 1, or values in the unit of the data. A table whose columns differ in type stays
        as it is encoded.

        Args:
            x: (rows, *input_shape).
            clip: whether pixels outside the range are cut.
        """
        values = x.detach().float().cpu().numpy()
        preprocessor: Any = self.preprocessor
        scaling = getattr(preprocessor.encoders[next(iter(preprocessor.inputs))], "scaling", None)
        if scaling is None:
            return values
        if not (self.makes_images and hasattr(scaling, "pixels")):
            return scaling.restore(values)
        return scaling.pixels(values) if clip else scaling.restore(values) / scaling.value_range


class Generation(Unsupervised):
    """Learns a distribution, by class where the model is conditional, and draws samples from it.

    A subclass writes `sample`, and calls `average` for the network that samples if its weights are averaged.

    Args:
        input_shape: see `Unsupervised`.
        ema_decay: of the exponential moving average of the sampling network's weights, with which samples are drawn; None: the weights
            themselves. In the first steps it is smaller (step / (step + 10)), so that the average forgets the initial weights.
        show_every: see `Unsupervised`.
    """

    queries: ClassVar[Mapping[str, str]] = {"samples": "mlrun.predictions.samples.Samples"}
    num_classes: int = 0  # classes of a conditional model
    ema_steps: Tensor  # updates of the average, ()

    def __init__(self, input_shape: Sequence[int], ema_decay: float | None = None, show_every: int | None = None):
        super().__init__(input_shape, show_every)
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay={ema_decay}: must be in [0, 1), or null")
        self.ema_decay = ema_decay
        self._averaged: str | None = None  # name of the network whose average is `ema`

    def sample(self, count: int, generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """Samples as the network sees data, (count, *input_shape).

        Args:
            count: how many.
            generator: of the noise, on the network's device.
            labels: (count,) classes, always given where the model is conditional.
        """
        raise NotImplementedError(f"{type(self).__name__} draws no samples")

    def preview(self, count: int, seed: int) -> Tensor:
        """Samples for a picture during training, (count, *input_shape); a task whose sampling is slow takes a shorter way."""
        return self.draw(count, seed)[0]

    # --- sampling -------------------------------------------------------------------------------------------------

    def average(self, name: str) -> None:
        """Averages the weights of the network `self.<name>` during training, if there is an `ema_decay`; samples use the average."""
        if self.ema_decay is not None:
            self._averaged = name
            self.ema: nn.Module = fixed_copy(getattr(self, name))
            self.register_buffer("ema_steps", torch.zeros((), dtype=torch.int64))

    def adapted(self) -> None:
        if self._averaged is not None and not same_tensors(self.ema, getattr(self, self._averaged)):
            self.ema = fixed_copy(getattr(self, self._averaged))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the network is replaced by its average."""
        if self._averaged is None:
            yield
            return
        trained = getattr(self, self._averaged)
        setattr(self, self._averaged, self.ema)
        try:
            yield
        finally:
            setattr(self, self._averaged, trained)

    @torch.no_grad()
    def draw(self, count: int, seed: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Samples of the averaged network in evaluation mode.

        Args:
            count: how many.
            seed: of the noise.
            labels: (count,) classes; None: all classes in turn.

        Returns:
            Samples (count, *input_shape), and their classes (count,), or None where the model is unconditional.
        """
        if self.num_classes and labels is None:
            labels = torch.arange(count) % self.num_classes
        labels = None if labels is None or not self.num_classes else labels.to(self.device)
        generator = self.seeded(seed)
        training, parts = self.training, []
        self.eval()
        try:
            with self.averaged():
                for start in range(0, count, CHUNK):
                    size = min(CHUNK, count - start)
                    chosen = None if labels is None else labels[start : start + size]
                    parts.append(self.sample(size, generator, chosen).float())
        finally:
            self.train(training)
        return torch.cat(parts), labels

    # --- training -------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self._averaged is not None:
            self._updates = int(self.ema_steps)  # counted here too, so that no update waits for the GPU

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)
        # not in `on_train_batch_end`, which comes after a checkpoint in the middle of an epoch
        self.update_average()

    @torch.no_grad()
    def update_average(self) -> None:
        """Moves the average towards the weights, and towards the running statistics of normalization, after an update."""
        if self._averaged is None:
            return
        self.ema_steps += 1
        self._updates += 1
        weight = 1 - min(self.ema_decay, self._updates / (self._updates + 10))
        averages = list(self.ema.state_dict().values())
        currents = list(getattr(self, self._averaged).state_dict().values())
        smooth = [(average, current) for average, current in zip(averages, currents) if average.is_floating_point()]
        lerp_each_([average for average, _ in smooth], [current for _, current in smooth], weight)
        for average, current in zip(averages, currents):
            if not average.is_floating_point():
                average.copy_(current)
