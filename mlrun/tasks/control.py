"""Learning by acting: what value-based and policy-based networks share."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from mlrun.data.environments.state import decode, encode
from mlrun.errors import ConfigError
from mlrun.tasks.task import Task


class Control(Task):
    """One Lightning step is a whole round: act for a while, then learn from what was seen, so that small networks do not wait for the loop.

    An epoch is a number of environment steps (an episode's reset counts as one). After each the greedy policy plays the
    validation episodes. A subclass writes `scores`, `act` and `learn`.

    Args:
        steps_per_epoch: environment steps, of all environments together.
        steps_per_round: how many of them are taken before learning.
        max_grad_norm: the gradient is scaled down to this norm; None: never.

    A checkpoint holds what training goes on from: weights, optimizer, random generators, the state of the environments, and what the
    subclass adds.
    """

    monitor, mode = "val/return", "max"
    supports_mid_epoch_resume = False
    network: torch.nn.Module

    def __init__(self, steps_per_epoch: int, steps_per_round: int, max_grad_norm: float | None = None):
        super().__init__()
        self.automatic_optimization = False
        for name, value in {"steps_per_epoch": steps_per_epoch, "steps_per_round": steps_per_round}.items():
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        self.steps_per_epoch, self.steps_per_round, self.max_grad_norm = steps_per_epoch, steps_per_round, max_grad_norm
        self.steps = 0  # of all environments since training began
        self._restored = None

    # --- what a subclass says -------------------------------------------------------------------------------------

    def scores(self, observations: Tensor) -> Tensor:
        """(rows, *input_shape) -> (rows, actions): the greedy action is the largest."""
        return self.network(observations)

    def act(self) -> None:
        """Takes about `steps_per_round` steps in `self.stream` and keeps what `learn` needs."""
        raise NotImplementedError

    def learn(self) -> dict[str, Tensor]:
        """Updates the networks by `descend`. Returns means over the updates, "loss" among them, without gradient."""
        raise NotImplementedError

    # --- training -------------------------------------------------------------------------------------------------

    def train_loader(self, data, device, shard):
        if shard[1] > 1:
            raise ConfigError("trainer: reinforcement learning runs in one process; set trainer.devices=1")
        return Rounds(max(1, self.steps_per_epoch // self.steps_per_round))

    def on_fit_start(self):
        self.stream = self.data.stream()
        seed = self.data.seeds("train", 2)[1]
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self._trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.begin()
        if self._restored is not None:
            self._continue(self._restored)
            self._restored = None

    def begin(self) -> None:
        """Before the first step: room for what is seen, copies of networks. `self.stream` is there."""

    def on_train_epoch_start(self):
        self._steps_before, self._started, self._paused = self.steps, time.perf_counter(), 0.0

    @property
    def progress(self) -> float:
        """Share of the training that is over."""
        return min(1.0, self.steps / (self.steps_per_epoch * self.trainer.max_epochs))

    def training_step(self, batch, batch_index):
        self.act()
        means = self.learn()
        self.trainer.optimizers[0].zero_grad(set_to_none=True)
        self.optimizers().step()  # the updates were made past Lightning: without gradients this only counts a step
        if not means:
            return {"loss": torch.zeros(())}
        self.tally("train", 1, **means)
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "step":
                config.scheduler.step()
        return {"loss": means["loss"]}

    def descend(self, loss: Tensor) -> None:
        """One update of all parameters. The optimizer is torch's own: a step through Lightning's takes longer than that of a small network."""
        optimizer = self.trainer.optimizers[0]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimization.add_penalty_gradients(self)
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._trained, self.max_grad_norm, foreach=True)
        optimizer.step()

    def on_before_optimizer_step(self, optimizer):
        pass  # penalties are added in `descend`

    def on_train_epoch_end(self):
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                watched = (self.trainer.callback_metrics[config.monitor],) if config.monitor else ()
                config.scheduler.step(*watched)

    def epoch_metrics(self, stage):
        metrics = super().epoch_metrics(stage)
        if stage == "train":
            seconds = time.perf_counter() - self._started - self._paused
            metrics["train/steps"] = float(self.steps)
            metrics["train/steps_per_second"] = (self.steps - self._steps_before) / max(seconds, 1e-9)
            if self.stream.finished:
                metrics["train/return"] = float(np.mean([earned for earned, _ in self.stream.finished]))
                self.stream.finished = []
        return metrics

    # --- measuring ------------------------------------------------------------------------------------------------

    def on_validation_start(self):
        self._validation_started = time.perf_counter()

    def on_validation_end(self):
        if getattr(self, "_started", None) is not None:
            self._paused += time.perf_counter() - self._validation_started

    @torch.inference_mode()
    def predict_step(self, batch, batch_index=0):
        """Scores (rows, actions) of network-ready observations."""
        return self.scores(batch[0])

    def greedy(self, data):
        """A policy: observations as the environment gives them (rows, ...) -> actions (rows,)."""
        transform, device = data.transform, self.device

        @torch.inference_mode()
        def policy(observations: np.ndarray) -> np.ndarray:
            return self.scores(torch.from_numpy(transform(observations)).to(device)).argmax(1).cpu().numpy()

        return policy

    def validation_step(self, batch, batch_index):
        metrics = batch.play(self.greedy(batch.data)).metrics()
        self.tally("val", 1, **{name: torch.tensor(value, device=self.device) for name, value in metrics.items()})

    def evaluate(self, loader, data):
        (episodes,) = loader
        self.outcome = episodes.play(self.greedy(data))
        return self.outcome.metrics()

    def figures(self, data, part):
        from mlrun.report.control import control_figures

        yield from control_figures(data, self.outcome, self.greedy(data), values=self.values(data))

    def values(self, data):
        """A function from observations (rows, ...) to action values (rows, actions) to draw, or None."""
        return None

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint):
        if getattr(self, "stream", None) is not None:
            checkpoint["control"] = {
                "steps": self.steps,
                "stream": self.stream.state(),
                "random": encode(self.random),
                "generator": self.generator.get_state(),
                **self.memory(),
            }

    def on_load_checkpoint(self, checkpoint):
        self._restored = checkpoint.get("control")  # used once there are environments

    def _continue(self, state: dict) -> None:
        self.steps = state["steps"]
        self.stream.restore(state["stream"])
        self.stream.finished = []  # of the epoch that was reported
        decode(state["random"], self.random)
        self.generator.set_state(state["generator"].cpu())
        self.remember(state)

    def memory(self) -> dict:
        """What else training goes on from: plain containers and tensors."""
        return {}

    def remember(self, state: dict) -> None:
        """Puts back what `memory` gave."""


class Rounds:
    """As many empty batches as an epoch has rounds."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(range(self.count))
