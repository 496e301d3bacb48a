"""Learning by acting: what value-based and policy-based networks share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.data.environments.environment import Environment, Stream
from mlrun.data.environments.state import decode, encode
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.task import Outputs, Task


class Control(Task):
    """One Lightning step is a whole round of acting and then learning from it, so that small networks do not wait for the loop.

    An epoch is a number of environment steps (the reset between two episodes counts as one). After each epoch an evaluator plays
    the validation episodes. A subclass writes `act` and `learn`, and `scores` if the network does not rank the actions itself.

    A checkpoint holds everything that training resumes from: weights, optimizer, random generators, the state of the
    environments, and what `memory` of the subclass adds.

    Args:
        steps_per_epoch: environment steps, of all environments together.
        steps_per_round: how many of them are taken before learning.
        max_grad_norm: larger gradients are scaled down to this norm; None: never.

    Raises:
        ValueError: fewer than one step.
    """

    metrics: ClassVar[dict[str, Better]] = {}  # the validation part is measured by evaluators alone
    monitor = "return"
    supports_mid_epoch_resume = False
    queries = {"episodes": "mlrun.predictions.episodes.Episodes"}
    data: Environment
    network: nn.Module
    stream: Stream | None = None  # the environments in which it learns

    def __init__(self, steps_per_epoch: int, steps_per_round: int, max_grad_norm: float | None = None):
        super().__init__()
        self.automatic_optimization = False
        for name, value in {"steps_per_epoch": steps_per_epoch, "steps_per_round": steps_per_round}.items():
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        self.steps_per_epoch, self.steps_per_round, self.max_grad_norm = steps_per_epoch, steps_per_round, max_grad_norm
        self.steps = 0  # of all environments since training began
        self._restored: dict[str, Any] | None = None  # part of a checkpoint, until there are environments to restore
        self._started: float | None = None

    # --- what a subclass defines ----------------------------------------------------------------------------------

    def scores(self, observations: Tensor) -> Tensor:
        """(rows, *input_shape) -> (rows, actions): the greedy action is the one with the largest score."""
        return self.network(observations)

    def act(self) -> None:
        """Takes about `steps_per_round` steps in `self.stream` and keeps what `learn` needs."""
        raise NotImplementedError

    def learn(self) -> dict[str, Tensor]:
        """Updates the networks by `descend`. Returns means over the updates, "loss" among them, without gradient; empty if there were none."""
        raise NotImplementedError

    def begin(self) -> None:
        """Prepares the first step: memory for transitions, copies of networks. `self.stream` is there."""

    def memory(self) -> dict[str, Any]:
        """What else training resumes from: plain containers and tensors."""
        return {}

    def remember(self, state: dict[str, Any]) -> None:
        """Takes what `memory` returned."""

    # --- predictions ----------------------------------------------------------------------------------------------

    def predict(self, batch: Batch) -> Outputs:
        """`actions` (rows,), the greedy ones, and their `scores` (rows, actions)."""
        scores = self.scores(next(iter(batch.values())))
        return {"actions": scores.argmax(1), "scores": scores}

    # --- training -------------------------------------------------------------------------------------------------

    def train_loader(self, data: Environment, device: torch.device, shard: tuple[int, int]) -> Rounds:  # type: ignore[override]
        if shard[1] > 1:
            raise ConfigError("trainer: reinforcement learning runs in one process; set trainer.devices=1")
        return Rounds(max(1, self.steps_per_epoch // (data.num_envs * self.steps_together(data.num_envs))))

    def steps_together(self, num_envs: int) -> int:
        """Steps that the environments take together in a round, so that these are about `steps_per_round`, and at least one."""
        return max(1, self.steps_per_round // num_envs)

    def on_fit_start(self) -> None:
        self.stream = self.data.stream(self.preprocessor)
        seed = self.data.seeds("train", 2)[1]
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self._trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.begin()
        if self._restored is not None:
            self._resume(self._restored)
            self._restored = None

    def on_train_epoch_start(self) -> None:
        self._steps_before, self._started, self._paused = self.steps, time.perf_counter(), 0.0

    @property
    def progress(self) -> float:
        """The fraction of training that is done."""
        return min(1.0, self.steps / (self.steps_per_epoch * self.trainer.max_epochs))

    def training_step(self, batch: Any, batch_index: int) -> dict[str, Tensor]:
        self.act()
        means = self.learn()
        self.trainer.optimizers[0].zero_grad(set_to_none=True)
        optimizer: Any = self.optimizers()
        optimizer.step()  # `descend` bypasses Lightning; without gradients this only counts a step
        if not means:
            return {"loss": torch.zeros(())}
        self.tally("train", 1, **means)
        self._step_schedules("step")
        return {"loss": means["loss"]}

    def descend(self, loss: Tensor) -> None:
        """One update of all parameters. The optimizer is torch's: a step through Lightning's takes longer than that of a small network."""
        optimizer = self.trainer.optimizers[0]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimization.add_penalty_gradients(self)
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._trained, self.max_grad_norm, foreach=True)
        optimizer.step()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        pass  # `descend` adds the penalties

    def on_train_epoch_end(self) -> None:
        self._step_schedules("epoch")

    def _step_schedules(self, interval: str) -> None:
        """Lightning leaves the schedules to tasks that make their updates themselves."""
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == interval:
                watched = (self.trainer.callback_metrics[config.monitor],) if config.monitor else ()
                config.scheduler.step(*watched)

    def epoch_metrics(self, stage: str) -> dict[str, float]:
        metrics = super().epoch_metrics(stage)
        if stage == "train":
            seconds = time.perf_counter() - self._started - self._paused
            metrics["train/steps"] = float(self.steps)
            metrics["train/steps_per_second"] = (self.steps - self._steps_before) / max(seconds, 1e-9)
            if self.stream.finished:
                metrics["train/return"] = float(np.mean([earned for earned, _ in self.stream.finished]))
                self.stream.finished = []
        return metrics

    # --- validation: not part of the time of a step ------------------------------------------------------------------

    def on_validation_start(self) -> None:
        self._validation_started = time.perf_counter()

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Hands the episodes to the evaluators."""
        if self.validation is not None:
            self.validation.update(batch)

    def on_validation_end(self) -> None:
        if self._started is not None:
            self._paused += time.perf_counter() - self._validation_started

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.stream is not None:
            checkpoint["control"] = {
                "steps": self.steps,
                "stream": self.stream.state(),
                "random": encode(self.random),
                "generator": self.generator.get_state(),
                **self.memory(),
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restored = checkpoint.get("control")

    def _resume(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.stream.restore(state["stream"])
        self.stream.finished = []  # of the epoch that was reported
        decode(state["random"], self.random)
        self.generator.set_state(state["generator"].cpu())
        self.remember(state)


class Rounds:
    """As many empty batches as an epoch has rounds."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))
