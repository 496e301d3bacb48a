"""Lightning's inner loops without the bookkeeping that a plain step does not need.

A step of a small network takes about a millisecond; in Lightning's own loop about half as much again goes into hooks that nobody overrides, wrappers
around the optimizer, results that nobody logs and profiling that nobody asked for. The loops here do the same in the same order, bit for
bit (read against Lightning 2.6), and hand over to Lightning's wherever something else is asked of them: several processes, accumulation,
manual optimization, other precisions than 32-true and bf16-mixed, an optimizer that calls its closure more than once.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.optimization.automatic import ClosureResult
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer.states import RunningStage, TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException


def install(trainer: Trainer) -> None:
    """Replaces the loops over the batches of an epoch and of a validation, before `fit`."""
    if not _is_plain(trainer):
        return
    ordinary = trainer.fit_loop.epoch_loop
    loop = trainer.fit_loop.epoch_loop = TrainingLoop(trainer, ordinary.min_steps, ordinary.max_steps)
    loop.val_loop = ValidationLoop(
        trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False
    )


def _is_plain(trainer) -> bool:
    precision = trainer.precision_plugin
    scales = type(precision) is not Precision and (
        type(precision) is not MixedPrecision or precision.scaler is not None
    )
    return (
        type(trainer.strategy) is SingleDeviceStrategy
        and isinstance(trainer.profiler, PassThroughProfiler)
        and not scales
    )


def _around_step(trainer):
    """A function that makes the context of a step: autocast, or nothing."""
    nothing = nullcontext()
    return (
        (lambda: nothing) if type(trainer.precision_plugin) is Precision else trainer.precision_plugin.forward_context
    )


class _Hook:
    """Who listens to a hook: callbacks first, then the task."""

    def __init__(self, name: str, trainer, task):
        listening = [
            hook
            for callback in trainer.callbacks
            if _function(hook := getattr(callback, name)) is not getattr(Callback, name)
        ]
        self.calls = [partial(hook, trainer, task) for hook in listening]
        if _overrides(task, name):
            self.calls.append(getattr(task, name))
        self.name, self.attributes = name, vars(task)

    def __call__(self, *arguments) -> None:
        self.attributes["_current_fx_name"] = self.name  # what `self.log` goes by; a module's __setattr__ is slow
        for call in self.calls:
            call(*arguments)


def _function(method):
    return getattr(method, "__func__", method)


def _overrides(task, name: str) -> bool:
    return _function(getattr(task, name)) is not getattr(LightningModule, name)


class TrainingLoop(_TrainingEpochLoop):
    """All batches of an epoch but the last, after which Lightning validates, changes rates and so on."""

    def advance(self, data_fetcher) -> None:
        if self.restarting or not self._is_plain() or not self._run(data_fetcher):
            super().advance(data_fetcher)

    def _is_plain(self) -> bool:
        trainer, task = self.trainer, self.trainer.lightning_module
        kind = type(trainer.optimizers[0]) if len(trainer.optimizers) == 1 else object
        return (
            task.automatic_optimization
            and kind.__module__.startswith("torch.optim.")
            and kind is not torch.optim.LBFGS
            and trainer.accumulate_grad_batches == 1
            and self.max_steps == -1
            and trainer.num_training_batches < float("inf")
            and trainer.val_check_interval == 1.0
            and not self.automatic_optimization._skip_backward
            and not _overrides(task, "optimizer_step")
            and not _overrides(task, "on_train_batch_start")  # which may end the epoch
            and not _overrides(task, "on_before_batch_transfer")
            and not _overrides(task, "on_after_batch_transfer")
        )

    def _run(self, data_fetcher) -> bool:
        """Returns whether training was told to stop."""
        trainer, task, results = self.trainer, self.trainer.lightning_module, self._results
        batches, steps = self.batch_progress, self.automatic_optimization.optim_progress.optimizer
        connector, signals = trainer._logger_connector, trainer._signal_connector
        optimizer, around, attributes = trainer.optimizers[0], _around_step(trainer), vars(task)
        clip = {
            "gradient_clip_val": trainer.gradient_clip_val,
            "gradient_clip_algorithm": trainer.gradient_clip_algorithm,
        }
        clips = bool(trainer.gradient_clip_val) or _overrides(task, "configure_gradient_clipping")
        schedules = any(config.interval == "step" for config in trainer.lr_scheduler_configs)
        hook = {name: _Hook(name, trainer, task) for name in (
            "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_train_batch_end"
        )}  # fmt: skip
        takes_index = len(self._build_kwargs({}, None, 0)) == 2
        before = attributes["_current_fx_name"]
        for index in range(batches.current.ready, trainer.num_training_batches - 1):
            batch, _, _ = next(data_fetcher)
            batches.increment_ready()
            connector._first_loop_iter = connector._first_loop_iter is None
            results.batch, results.batch_size = batch, None
            hook["on_train_batch_start"](batch, index)
            batches.increment_started()

            attributes["_current_fx_name"] = "training_step"
            with around():
                output = task.training_step(batch, index) if takes_index else task.training_step(batch)
            if isinstance(output, torch.Tensor):
                loss, outputs = output, {"loss": output.detach()}
            else:
                result = ClosureResult.from_training_step_output(output)
                loss, outputs = result.closure_loss, {} if result.loss is None else result.asdict()
            steps.step.increment_ready()
            steps.zero_grad.increment_ready()
            hook["on_before_zero_grad"](optimizer)
            steps.zero_grad.increment_started()
            task.optimizer_zero_grad(trainer.current_epoch, index, optimizer)
            steps.zero_grad.increment_completed()
            if loss is not None:
                hook["on_before_backward"](loss)
                task.backward(loss)
                hook["on_after_backward"]()
            hook["on_before_optimizer_step"](optimizer)
            if clips:
                task.configure_gradient_clipping(optimizer, **clip)
            optimizer.step()
            steps.step.increment_completed()

            batches.increment_processed()
            if schedules:
                self.update_lr_schedulers("step", update_plateau_schedulers=False)
            hook["on_train_batch_end"](outputs, batch, index)
            if results:  # something was logged
                connector.on_batch_end()
            results.batch = results.batch_size = None
            batches.increment_completed()
            if results:
                connector.update_train_step_metrics()
            attributes["_current_fx_name"] = before
            if trainer.should_stop or signals.received_sigterm:
                return True
            if schedules:
                self.update_lr_schedulers("step", update_plateau_schedulers=True)
            self._batches_that_stepped += 1
        return False


class ValidationLoop(_EvaluationLoop):
    _step = None  # made for every validation

    def on_run_start(self) -> None:
        super().on_run_start()
        trainer, task = self.trainer, self.trainer.lightning_module
        transfers = _overrides(task, "on_before_batch_transfer") or _overrides(task, "on_after_batch_transfer")
        self._step = (
            None
            if transfers or self.num_dataloaders > 1 or trainer.state.fn != TrainerFn.FITTING
            else self._plain_step(trainer, task)
        )

    def _evaluation_step(self, batch, batch_idx, dataloader_idx, dataloader_iter) -> None:
        if self._step is None or dataloader_iter is not None:
            return super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
        self._step(batch, batch_idx)

    def _plain_step(self, trainer, task):
        start, end = _Hook("on_validation_batch_start", trainer, task), _Hook("on_validation_batch_end", trainer, task)
        results, progress = self._results, self.batch_progress
        connector, signals = trainer._logger_connector, trainer._signal_connector
        around, attributes, before = _around_step(trainer), vars(task), vars(task)["_current_fx_name"]
        takes_index = (
            len(self._build_step_args_from_hook_kwargs({"batch": None, "batch_idx": 0}, "validation_step")) == 2
        )

        def step(batch, index: int) -> None:
            progress.increment_ready()
            connector._first_loop_iter = connector._first_loop_iter is None
            results.batch, results.batch_size, results.dataloader_idx = batch, None, None
            start(batch, index)
            progress.increment_started()
            attributes["_current_fx_name"] = "validation_step"
            with around():
                output = task.validation_step(batch, index) if takes_index else task.validation_step(batch)
            progress.increment_processed()
            end(output, batch, index)
            if results:
                connector.on_batch_end()
            results.batch = results.batch_size = None
            progress.increment_completed()
            attributes["_current_fx_name"] = before
            self._has_run = True
            self._seen_batches_per_dataloader[0] += 1
            if not progress.is_last_batch and signals.received_sigterm:
                raise SIGTERMException

        return step
