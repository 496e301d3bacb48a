"""Learning to make data: what all generative models share, which is how they are seen and measured."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from mlrun.evaluation import fidelity
from mlrun.networks.layers.torch_internals import lerp_each_
from mlrun.tasks.task import Task

FIXED_NOISE, EVALUATION_NOISE = 1, 2  # seeds: of what is drawn every few epochs, always the same; of what is measured
SHOWN_POINTS, SHOWN_IMAGES = 2000, 64
MEASURED, COMPARED = 4000, 10_000  # most samples measured, most training rows that they are compared with
VALIDATED = 500  # samples after each epoch
CHUNK = 500  # samples made at once
PERMUTATIONS = 200
FRAMES = 12  # pictures in the course of a training, unless `show_every` says otherwise


class Generation(Task):
    """Learns a distribution of rows (batch, *input_shape), by class where the model is conditional, and draws from it.

    A subclass writes `sample`, and calls `average` for the network that samples if it is to be averaged. What it draws in training comes
    from `self.random`, a generator on the network's device that is part of every checkpoint: a run that goes on draws the same.

    Args:
        input_shape: of a row as the network is fed: [features] or [channels, height, width].
        ema_decay: of the average of the sampling network's weights that samples are drawn with; None: the weights themselves.
            In the first steps less (step / (step + 10)), so that the average forgets how the network began.
        show_every: epochs between pictures of samples from the same noise; None: about twelve pictures of a training.
    """

    monitor, mode = "val/mmd", "min"
    predicts_targets = False
    num_classes = 0  # a conditional model's classes
    wants_judge = True
    judge = None  # a classifier of the same data, `mlrun.experiment.reference_classifier.Judge`, that images are measured by; the experiment sets it

    def __init__(self, input_shape: Sequence[int], ema_decay: float | None = None, show_every: int | None = None):
        super().__init__()
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay={ema_decay}: must be in [0, 1), or null")
        if show_every is not None and show_every < 1:
            raise ValueError(f"show_every={show_every}: must be at least 1, or null")
        self.input_shape, self.ema_decay, self.show_every = list(input_shape), ema_decay, show_every
        self._averaged: str | None = None  # name of the network of which `ema` is the average
        self.frames: list[tuple[int, Tensor]] = []  # (epoch, samples (rows, *input_shape)) from the same noise
        self._restored, self._seen = None, []

    # --- what a subclass says -------------------------------------------------------------------------------------

    def sample(self, count: int, generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(count, *input_shape), as the network sees data. generator: of the noise, on the network's device.
        labels: (count,) classes, always given where the model is conditional."""
        raise NotImplementedError

    def shown(self) -> Tensor:
        """What pictures in the course of training show: rows (rows, *input_shape). Samples from the same noise."""
        return self.draw(SHOWN_IMAGES if self.makes_images else SHOWN_POINTS, FIXED_NOISE)[0]

    def memory(self) -> dict:
        """What else training goes on from: plain containers and tensors."""
        return {}

    def remember(self, state: dict) -> None:
        """Puts back what `memory` gave; optimizers and data are there."""

    # --- sampling -------------------------------------------------------------------------------------------------

    @property
    def makes_images(self) -> bool:
        return len(self.input_shape) == 3

    def average(self, name: str) -> None:
        """From now on the network `self.<name>` samples with the moving average of its weights, if there is an `ema_decay`."""
        if self.ema_decay is not None:
            self._averaged = name
            self.ema = copy.deepcopy(getattr(self, name)).requires_grad_(False)
            self.register_buffer("ema_steps", torch.zeros((), dtype=torch.int64))

    @contextmanager
    def averaged(self):
        """Within, the network is its average."""
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
        """Samples of the averaged network in evaluation mode, chunk by chunk, and their classes: in turn, unless `labels` are given."""
        if self.num_classes and labels is None:
            labels = torch.arange(count) % self.num_classes
        labels = None if labels is None or not self.num_classes else labels.to(self.device)
        generator = torch.Generator(self.device).manual_seed(seed)
        training, parts = self.training, []
        self.eval()
        try:
            with self.averaged():
                for start in range(0, count, CHUNK):
                    size = min(CHUNK, count - start)
                    parts.append(
                        self.sample(size, generator, None if labels is None else labels[start : start + size]).float()
                    )
        finally:
            self.train(training)
        return torch.cat(parts), labels

    # --- training -------------------------------------------------------------------------------------------------

    def on_fit_start(self):
        self.random = torch.Generator(self.device).manual_seed(self.data.seed)
        if self._restored is not None:
            self.random.set_state(self._restored["random"].cpu())
            self.frames = [(epoch, samples) for epoch, samples in self._restored["frames"]]
            self.remember(self._restored)
            self._restored = None

    def optimizer_step(self, *arguments, **options):
        super().optimizer_step(*arguments, **options)
        # not in `on_train_batch_end`, which comes after a checkpoint in the middle of an epoch
        if self._averaged is not None:
            self._average_step()

    def end_of_batch(self) -> None:
        """To be called at the end of `training_step` by a task that makes its updates itself."""
        if self._averaged is not None:
            self._average_step()
        self._step_schedules("step")

    @torch.no_grad()
    def _average_step(self) -> None:
        """Parameters and the running statistics of normalization alike."""
        self.ema_steps += 1
        steps = int(self.ema_steps) if self.device.type == "cpu" else self.global_step + 1  # no waiting for a GPU
        weight = 1 - min(self.ema_decay, steps / (steps + 10))
        averages, currents = (
            list(self.ema.state_dict().values()),
            list(getattr(self, self._averaged).state_dict().values()),
        )
        smooth = [(average, current) for average, current in zip(averages, currents) if average.is_floating_point()]
        lerp_each_(*(list(tensors) for tensors in zip(*smooth)), weight)
        for average, current in zip(averages, currents):
            if not average.is_floating_point():
                average.copy_(current)

    def _step_schedules(self, interval: str) -> None:
        """Of a task that makes its updates itself; otherwise Lightning does it."""
        if not self.automatic_optimization:
            for config in self.trainer.lr_scheduler_configs:
                if config.interval == interval:
                    config.scheduler.step(*((self.trainer.callback_metrics[config.monitor],) if config.monitor else ()))

    def on_train_epoch_end(self):
        self._step_schedules("epoch")

    def epoch_pictures(self, epoch, last):
        every = self.show_every or max(1, self.trainer.max_epochs // FRAMES)
        if epoch % every == 0 or last:
            samples = self.shown()
            self.frames.append((epoch, samples.cpu()))
            yield f"samples_epoch_{epoch:04d}", self.picture(samples, self.data)

    # --- measuring ------------------------------------------------------------------------------------------------

    def validation_step(self, batch, batch_index):
        self._seen.append(batch[0])

    def on_validation_epoch_end(self):
        real, self._seen = torch.cat(self._seen)[:VALIDATED], []
        samples, _ = self.draw(len(real), EVALUATION_NOISE)
        values = fidelity.mmd(samples.cpu().numpy(), real.cpu().numpy())
        self.log_dict({f"val/{name}": value for name, value in values.items()})
        super().on_validation_epoch_end()

    def evaluate(self, loader, data):
        real, classes = (torch.cat(parts) for parts in zip(*loader))
        samples, asked = self.draw(min(len(real), MEASURED), EVALUATION_NOISE)
        return self.resemblance(samples, asked, real, classes, data)

    def resemblance(
        self, samples: Tensor, asked: Tensor | None, real: Tensor, classes: Tensor, data
    ) -> dict[str, float]:
        """What samples (rows, *input_shape) are worth beside `real` rows that the model has not seen, in the data's own unit.

        Everywhere: `mmd` with the level of its test (on 1,000 rows at most), `novelty`: median distance to the nearest training row, in
        units of what fresh real rows have. Mixtures of points: `modes`, `good`. Images, with a judge: `precision`, `recall`, `density`,
        `coverage`, `frechet` (and `frechet_real` of as many training rows) on its features, `classified_as_asked` and `diversity`
        (by class, of features, in units of the real data's) where the model is conditional.
        """
        train = self._training_rows(data)
        made, fresh, known = (self.natural(rows, data) for rows in (samples, real, train[0]))
        flat = [rows.reshape(len(rows), -1) for rows in (made, fresh, known)]
        metrics = fidelity.mmd(flat[0][:1000], flat[1][:1000], PERMUTATIONS)
        metrics["novelty"] = fidelity.memorization(*(flat[0][:1000], flat[2], flat[1][:1000]))
        centers = getattr(data, "centers", None)
        if centers is not None:
            metrics |= fidelity.modes(made, centers, data.noise)
        if self.judge is not None and self.makes_images:
            y = classes.cpu().numpy()
            (features, said), (real_features, real_said), (train_features, _) = (
                self.judge.judge(rows) for rows in (made, fresh, known)
            )
            metrics |= fidelity.neighbourhoods(real_features[: len(features)], features)
            metrics["frechet"] = fidelity.frechet(real_features, features)
            metrics["frechet_real"] = fidelity.frechet(real_features, train_features[: len(features)])
            metrics["judge_accuracy"] = float((real_said == y).mean())
            if asked is not None:
                wanted = asked.cpu().numpy()
                metrics["classified_as_asked"] = float((said == wanted).mean())
                metrics["diversity"] = fidelity.diversity(features, wanted, real_features, y)
        self.outcome = made, fresh, known
        return metrics

    def _training_rows(self, data) -> tuple[Tensor, Tensor]:
        rows, count = [], 0
        for batch in data.loader("train", self.device):
            rows.append(batch)
            count += len(batch[0])
            if count >= COMPARED:
                break
        return tuple(torch.cat(parts)[:COMPARED] for parts in zip(*rows))

    def natural(self, x: Tensor, data) -> np.ndarray:
        """Rows as the network sees them -> pixels from 0 to 1, or the values of the data."""
        x = x.detach().float().cpu().numpy()
        return (
            data.transform.pixels(x)
            if hasattr(data.transform, "pixels") and self.makes_images
            else data.transform.restore(x)
        )

    # --- pictures -------------------------------------------------------------------------------------------------

    def picture(self, x: Tensor, data, columns: int | None = None):
        from mlrun.report import samples

        made = self.natural(x, data)
        if self.makes_images:
            return samples.grid(made, columns=columns or (self.num_classes if 1 < self.num_classes <= 16 else None))
        return samples.scatter(made, data.content.x)

    def figures(self, data, part):
        from mlrun.report import samples

        made, _, known = self.outcome
        yield "samples", self.picture(self.shown(), data)
        if self.makes_images:
            _, rows = fidelity.nearest(made[:12].reshape(len(made[:12]), -1), known.reshape(len(known), -1))
            yield "nearest_training_rows", samples.grid(np.concatenate([made[:12], known[rows]]), columns=len(rows))
        if len(self.frames) > 1:
            yield "animation", samples.film([(epoch, self.picture(x, data)) for epoch, x in self.frames])

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint):
        if getattr(self, "random", None) is not None:
            checkpoint["generation"] = {"random": self.random.get_state(), "frames": list(self.frames), **self.memory()}

    def on_load_checkpoint(self, checkpoint):
        self._restored = checkpoint.get("generation")  # used once training begins
