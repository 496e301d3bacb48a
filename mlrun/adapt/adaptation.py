"""An adaptation: the steps by which a task starts from earlier work and trains its parts differently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mlrun.adapt.few_parameters import FewParameters
from mlrun.adapt.sources import Find
from mlrun.adapt.start import Start
from mlrun.adapt.step import Context, Step
from mlrun.adapt.steps import STEPS, Freeze, LearningRates
from mlrun.adapt.target import Target
from mlrun.config.validate import nearest
from mlrun.errors import ConfigError
from mlrun.networks.layers.lora import adapter_state


class Adaptation:
    """An ordered list of steps, see `mlrun.adapt.steps`. Later steps act on what earlier ones left."""

    def __init__(self, steps: Iterable[Step] = ()):
        self.steps = list(steps)
        self._networks: list[str] | None = None  # of the task, as they were before a step changed them

    @classmethod
    def from_config(cls, model: Mapping[str, Any]) -> Adaptation:
        """The steps that a model's configuration asks for.

        First those of the single keys: `init_from` with `init_only`, `freeze` with `unfreeze_every`, `lr_scale`. Then those
        of `adapt`, a list of steps such as `[{start: RUN}, {freeze: first_2}, {learning_rates: {head: 10}}, {no_decay: true}]`.

        Raises:
            ConfigError: for an unknown step, with the nearest name, or options that a step does not take.
        """
        keys: dict[type[Step], tuple[str, dict[str, str]]] = {
            Start: ("init_from", {"only": "init_only"}),
            Freeze: ("freeze", {"unfreeze_every": "unfreeze_every"}),
            LearningRates: ("lr_scale", {}),
        }
        steps: list[Step | None] = []
        for step, (key, others) in keys.items():
            value = model.get(key)
            options = {option: model[other] for option, other in others.items() if model.get(other) is not None}
            if options and value not in (None, "none"):
                value = {step.shorthand: value, **options}
            steps.append(step.from_value(value, f"model.{key}"))
        steps += cls.from_steps(model.get("adapt") or []).steps
        return cls(step for step in steps if step is not None)

    @classmethod
    def from_steps(cls, nodes: Sequence[Mapping[str, Any]], key: str = "model.adapt") -> Adaptation:
        """The steps of a list as in `model.adapt`, or as `record` returns it. Raises ConfigError."""
        if isinstance(nodes, (str, Mapping)) or not isinstance(nodes, Sequence):
            raise ConfigError(f"{key}={nodes}: must be a list of steps, e.g. [{{freeze: first_2}}, {{no_decay: true}}]")
        steps = []
        for index, node in enumerate(nodes):
            if isinstance(node, str):
                node = {node: True}  # a step without options
            if not isinstance(node, Mapping) or len(node) != 1:
                raise ConfigError(f"{key}[{index}]={node}: must be one step with its value, e.g. {{freeze: first_2}}")
            ((name, value),) = node.items()
            if name not in STEPS:
                raise ConfigError(
                    f"{key}[{index}].{name}: there is no such step{nearest(name, STEPS)} (steps are {', '.join(STEPS)})"
                )
            steps.append(STEPS[name].from_value(value, f"{key}[{index}].{name}"))
        return cls(step for step in steps if step is not None)

    @property
    def sources(self) -> list[str]:
        """What the task starts from, in order."""
        return [step.source for step in self.steps if isinstance(step, Start)]

    @property
    def stores_adapter(self) -> bool:
        """Whether checkpoints hold the trained parameters alone, because the others come from a source and stay as they are."""
        return bool(self.sources) and any(isinstance(step, FewParameters) for step in self.steps)

    def adapter_state(self, task: nn.Module) -> dict[str, Tensor]:
        """The tensors of a task that differ from those of its source, where `stores_adapter`. Call it after `apply`."""
        return adapter_state(task, self._networks or ())

    def apply(
        self,
        task: nn.Module,
        *,
        labels: list[Any] | None = None,
        preprocessor_state: Mapping[str, Any] | None = None,
        trust: bool = False,
        find: Find | None = None,
        weights_policy: str = "offline",
    ) -> list[str]:
        """Takes every step that acts before training: loads weights, freezes parts. Call it before the optimizer is made.

        Args:
            task: holds the networks as child modules.
            labels: classes of the data in the order of the network's outputs.
            preprocessor_state: of the preprocessor that the task is trained with.
            trust: also load files that can run code.
            find: MLflow run id -> local directory of its model or file of its weights, None if there is none.
            weights_policy: "offline" or "fetch", see `mlrun.data.published`.

        Returns:
            Lines that report to the user what was done.

        Raises:
            ConfigError: if a step does not fit the task.
        """
        target = Target(task)
        self._networks = list(target.networks)
        context, lines = Context(labels, preprocessor_state, trust, find, weights_policy), []
        for step in self.steps:
            step.apply(target, context)
            lines.append(step.describe())
        return [line for line in lines if line]

    def parameter_groups(
        self,
        task: nn.Module,
        lr: float | None = None,
        *,
        part: nn.Module | None = None,
        steps: Iterable[Step] = (),
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer: the parameters for which all steps together give the same settings.

        Args:
            task: as in `apply`; parts are named within it.
            lr: learning rate of the optimizer, which `LearningRates` multiplies.
            part: the module that this optimizer trains, for a task with several optimizers; None: the whole task.
            steps: steps that the task itself asks for, taken first.

        Returns:
            `{"params": [...], "lr": ..., "weight_decay": ...}` with the settings that differ from the optimizer's own. The
            group without such settings comes first, the others in the order of their first parameter.

        Raises:
            ConfigError: if a learning rate is to be multiplied and `lr` is None.
        """
        target = Target(task, self._networks)
        names = {id(parameter): name for name, parameter in target.named_parameters()}
        every = [*steps, *self.steps]
        groups: dict[tuple[tuple[str, Any], ...], list[nn.Parameter]] = {(): []}
        for parameter in (task if part is None else part).parameters():
            settings: dict[str, Any] = {}
            for step in every:
                settings = step.settings(names[id(parameter)], parameter, settings, lr)
            groups.setdefault(tuple(sorted(settings.items())), []).append(parameter)
        return [{"params": parameters, **dict(settings)} for settings, parameters in groups.items() if parameters]

    def epoch(self, index: int) -> None:
        """Takes the steps that are due at the start of an epoch, counted from 0: unfreezes layers, keeps frozen norms in evaluation mode."""
        for step in self.steps:
            step.epoch(index)

    def record(self) -> list[dict[str, Any]]:
        """The steps in plain values, for the saved recipe; `from_steps` reads them."""
        return [step.record() for step in self.steps]
