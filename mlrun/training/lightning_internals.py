"""Everything that needs Lightning's private interfaces: its inner loops and the iterator over the training batches.

Nothing else in `mlrun` uses them. Each function states what it needs from Lightning, and what happens with a version that
this file was not read against (`known`).

The lean loops leave out the bookkeeping that a plain step does not need. A step of a small network takes about a
millisecond; Lightning's own loop spends half as much again on hooks that nobody overrides, wrappers around the optimizer,
results that nobody logs and profiling that nobody requested. The lean loops do the same in the same order, bit for bit, and
hand over to Lightning's for anything else: several processes, accumulation, manual optimization, precisions other than
32-true and bf16-mixed, an optimizer that calls its closure more than once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy

from mlrun.errors import ConfigError

try:
    from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
    from lightning.pytorch.loops.optimization.automatic import ClosureResult
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
    from lightning.pytorch.trainer.states import RunningStage, TrainerFn
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    _IMPORTED = True
except ImportError:  # an unknown version: `known` keeps the loops below from being used
    _EvaluationLoop = _TrainingEpochLoop = object  # type: ignore[misc, assignment]  # never used as loops
    _IMPORTED = False

KNOWN = "2.6."  # the versions that this file was read against begin with this


def installed() -> str:
    """The version of Lightning."""
    return version("lightning")


def known() -> bool:
    """Whether the private interfaces of the installed Lightning are those that this file was written for."""
    return _IMPORTED and installed().startswith(KNOWN)


def set_max_epochs(trainer: Trainer, epochs: int) -> None:
    """Changes how many epochs `fit` trains, between its `setup` hook and the end of training.

    Needs: `trainer.fit_loop.max_epochs` can be assigned, `trainer.max_epochs` reads it, and the loop compares with it before
    each epoch.

    Raises:
        ConfigError: Lightning does not take the number, whatever its version.
    """
    with suppress(AttributeError):
        trainer.fit_loop.max_epochs = epochs
    if trainer.max_epochs != epochs:
        raise ConfigError(
            f"trainer: min_steps and max_steps do not work with Lightning {installed()}; set trainer.max_epochs={epochs} "
            f"instead, or install a version {KNOWN}x"
        )


def restart_training_iterator(trainer: Trainer) -> bool:
    """Begins the iteration over the training batches anew, before the first epoch of a resumed training.

    Lightning has created the iterator already, before the states of the random generators were restored. A loader that draws
    its order from a global generator when it is iterated (torch's DataLoader) must do so after that.

    Needs: `trainer.fit_loop._data_fetcher`, an iterable that creates a new iterator over the loaders.

    Returns:
        False for an unknown version, where the iterator stays as it is: loaders that shuffle with a global generator then
        serve the first resumed epoch in another order. The loaders of `mlrun.data` shuffle when the first batch is taken.
    """
    fetcher = getattr(trainer.fit_loop, "_data_fetcher", None) if known() else None
    if fetcher is None:
        return False
    iter(fetcher)
    return True


def lean_loops_obstacle(trainer: Trainer) -> str | None:
    """Why this trainer cannot use the lean loops; None if it can, as far as that is known before training."""
    if not known():
        return f"Lightning {installed()} is not a version {KNOWN}x, whose loops mlrun knows"
    precision = trainer.precision_plugin
    if type(trainer.strategy) is not SingleDeviceStrategy:
        return f"the strategy is {type(trainer.strategy).__name__}, not one device"
    if not isinstance(trainer.profiler, PassThroughProfiler):  # type: ignore[attr-defined]  # set by a connector
        return "Lightning's profiler is on"
    if type(precision) is not Precision and (type(precision) is not MixedPrecision or precision.scaler is not None):
        return f"the precision is {precision.precision}, not 32-true or bf16-mixed"
    return None


def install_lean_loops(trainer: Trainer, required: bool = False) -> None:
    """Replaces the loops over the batches of an epoch and of a validation, before `fit`.

    Needs: `lean_loops_obstacle` is None; `trainer.fit_loop.epoch_loop` can be assigned, and so can its `val_loop`.

    Args:
        trainer: not yet fitted.
        required: raise ConfigError when training begins if the task cannot use them (accumulation, manual optimization, ...),
            instead of using Lightning's.
    """
    ordinary = trainer.fit_loop.epoch_loop
    loop = trainer.fit_loop.epoch_loop = TrainingLoop(trainer, ordinary.min_steps, ordinary.max_steps)
    loop.required = required
    loop.val_loop = ValidationLoop(
        trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False
    )


def overrides(task: LightningModule, name: str) -> bool:
    """Whether a task has its own hook `name`."""
    return _function(getattr(task, name)) is not getattr(LightningModule, name)


def _function(method: Callable[..., Any]) -> Callable[..., Any]:
    return getattr(method, "__func__", method)


def _step_context(trainer: Trainer) -> Callable[[], AbstractContextManager]:
    """A function that makes the context of a step: autocast, or nothing."""
    nothing = nullcontext()
    return (
        (lambda: nothing) if type(trainer.precision_plugin) is Precision else trainer.precision_plugin.forward_context
    )


class _Hook:
    """Those who override a hook: callbacks first, then the task."""

    def __init__(self, name: str, trainer: Trainer, task: LightningModule):
        listening = [
            hook
            for callback in trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
            if _function(hook := getattr(callback, name)) is not getattr(Callback, name)
        ]
        self.calls = [partial(hook, trainer, task) for hook in listening]
        if overrides(task, name):
            self.calls.append(getattr(task, name))
        self.name, self.attributes = name, vars(task)

    def __call__(self, *arguments: Any) -> None:
        self.attributes["_current_fx_name"] = self.name  # read by `self.log`; a module's __setattr__ is slow
        for call in self.calls:
            call(*arguments)


class TrainingLoop(_TrainingEpochLoop):
    """All batches of an epoch but the last, after which Lightning validates, changes rates and so on."""

    required = False  # whether to refuse, rather than to hand over to Lightning

    def advance(self, data_fetcher: Any) -> None:
        obstacle = self._obstacle()
        if obstacle and self.required:
            raise ConfigError(f"trainer.fast_loop=true: {obstacle}")
        if self.restarting or obstacle or not self._run(data_fetcher):
            super().advance(data_fetcher)

    def _obstacle(self) -> str | None:
        """Why Lightning's own loop has to do this epoch; None if this one can."""
        trainer, task = self.trainer, self.trainer.lightning_module
        if not task.automatic_optimization:
            return f"{type(task).__name__} performs its own updates"
        if len(trainer.optimizers) != 1:
            return f"there are {len(trainer.optimizers)} optimizers"
        kind = type(trainer.optimizers[0])
        if not kind.__module__.startswith("torch.optim.") or kind is torch.optim.LBFGS:
            return f"the optimizer is {kind.__module__}.{kind.__name__}, which may call its closure more than once"
        if trainer.accumulate_grad_batches != 1:
            return "gradients are accumulated over several batches"
        if self.max_steps != -1:
            return "Lightning counts the steps (trainer.fast_dev_run)"
        if trainer.num_training_batches == float("inf"):
            return "the number of batches in an epoch is not known"
        if trainer.val_check_interval != 1.0:
            return "validation takes place within an epoch"
        if self.automatic_optimization._skip_backward:
            return "the backward pass is left out"
        # on_train_batch_start may end the epoch
        for name in ("optimizer_step", "on_train_batch_start", "on_before_batch_transfer", "on_after_batch_transfer"):
            if overrides(task, name):
                return f"{type(task).__name__} overrides {name}"
        return None

    def _run(self, data_fetcher: Any) -> bool:
        """Returns whether training is to stop."""
        trainer, task, results = self.trainer, self.trainer.lightning_module, self._results
        batches, steps = self.batch_progress, self.automatic_optimization.optim_progress.optimizer
        connector, signals = trainer._logger_connector, trainer._signal_connector
        optimizer, around, attributes = trainer.optimizers[0], _step_context(trainer), vars(task)
        clip: dict[str, Any] = {
            "gradient_clip_val": trainer.gradient_clip_val,
            "gradient_clip_algorithm": trainer.gradient_clip_algorithm,
        }
        clips = bool(trainer.gradient_clip_val) or overrides(task, "configure_gradient_clipping")
        schedules = any(config.interval == "step" for config in trainer.lr_scheduler_configs)
        hook = {name: _Hook(name, trainer, task) for name in (
            "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_train_batch_end"
        )}  # fmt: skip
        takes_index = len(self._build_kwargs(OrderedDict(), None, 0)) == 2
        before = attributes["_current_fx_name"]
        for index in range(batches.current.ready, cast(int, trainer.num_training_batches) - 1):
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
    """All batches of a validation within `fit`."""

    _step: Callable[[Any, int], None] | None = None  # made for every validation

    def on_run_start(self) -> None:
        super().on_run_start()
        trainer, task = self.trainer, self.trainer.lightning_module
        transfers = overrides(task, "on_before_batch_transfer") or overrides(task, "on_after_batch_transfer")
        self._step = (
            None
            if transfers or self.num_dataloaders > 1 or trainer.state.fn != TrainerFn.FITTING
            else self._plain_step(trainer, task)
        )

    def _evaluation_step(self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Any) -> None:
        if self._step is None or dataloader_iter is not None:
            return super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
        self._step(batch, batch_idx)

    def _plain_step(self, trainer: Trainer, task: LightningModule) -> Callable[[Any, int], None]:
        start, end = _Hook("on_validation_batch_start", trainer, task), _Hook("on_validation_batch_end", trainer, task)
        results, progress = self._results, self.batch_progress
        connector, signals = trainer._logger_connector, trainer._signal_connector
        around, attributes, before = _step_context(trainer), vars(task), vars(task)["_current_fx_name"]
        takes_index = (
            len(self._build_step_args_from_hook_kwargs(OrderedDict(batch=None, batch_idx=0), "validation_step")) == 2
        )

        def step(batch: Any, index: int) -> None:
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
