"""All steps of an adaptation by name, and those that freeze parts and change the optimizer's settings of parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from mlrun.adapt.few_parameters import BitFit, LastLayer, Lora
from mlrun.adapt.names import names_of, no_such_part, some
from mlrun.adapt.start import Start
from mlrun.adapt.step import Context, Step
from mlrun.adapt.target import HEAD, Target, layers, matches
from mlrun.config.validate import nearest
from mlrun.errors import ConfigError

# --- freezing ------------------------------------------------------------------------------------------------------


@dataclass
class Freeze(Step):
    """Fixes parts of the networks: no gradient, and normalization with the statistics that it has.

    Args:
        parts: `all_but_head`, `first_N` (layers with weights, counted from the input), or a list of names and patterns. With
            several networks, `all_but_head` and `first_N` need the name of one: `encoder.first_2`. A list can hold all of these.
        unfreeze_every: after each so many epochs the last frozen layer is trained too (gradual unfreezing, Howard and Ruder
            2018, arXiv:1801.06146); None: never.
        epochs: for which all of them are fixed, after which all are trained; None: for the whole training.
    """

    name: ClassVar[str] = "freeze"
    shorthand: ClassVar[str] = "parts"

    parts: str | list[str]
    unfreeze_every: int | None = None
    epochs: int | None = None
    key: str = field(default="model.freeze", compare=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.parts, str):
            self.parts = names_of(self.parts, self.key) or []
        for name in ("unfreeze_every", "epochs"):
            count = getattr(self, name)
            if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
                raise ConfigError(f"{self.key}: {name}={count}: must be an integer >= 1 or null")
        if self.unfreeze_every is not None and self.epochs is not None:
            raise ConfigError(f"{self.key}: give one of unfreeze_every and epochs")
        self._layers: list[_FrozenLayer] = []
        self._fixed = 0  # layers that are fixed in the current epoch, the first ones
        self._shown = ""

    def apply(self, target: Target, context: Context) -> None:
        """Finds the parts and fixes them.

        Raises:
            ConfigError: for a name that no part has, or if no layer would be left to train.
        """
        chosen = self._chosen(target)
        own = [p for p in target.task.parameters(recurse=False) if id(p) in chosen]  # of the task itself
        self._layers = [_FrozenLayer(own, [])] if own else []
        for network in target.networks.values():
            for modules in layers(network):
                parameters = [p for module in modules for p in module.parameters(recurse=False) if id(p) in chosen]
                if parameters:
                    self._layers.append(_FrozenLayer(parameters, _fixed_modules(modules, chosen)))
        frozen = {id(module) for layer in self._layers for module in layer.modules}
        names = [name for name, p in target.task.named_parameters(recurse=False) if id(p) in chosen]
        names += [name for name, module in target.named_modules() if id(module) in frozen]
        count = sum(p.numel() for p in chosen.values())
        whole = sum(p.numel() for network in target.networks.values() for p in network.parameters())
        gradually = "" if self.unfreeze_every is None else f", one layer fewer every {self.unfreeze_every} epochs"
        if self.epochs is not None:
            gradually = f" for {self.epochs} epoch{'s' * (self.epochs > 1)}"
        self._shown = f"{count:,} of {whole:,} parameters frozen{gradually}: {some(names)}"
        if all(id(p) in chosen for p in target.task.parameters() if p.requires_grad):
            raise ConfigError(f"{self.key}: every parameter of the model is frozen; nothing would be left to train")
        if self.unfreeze_every is None and self.epochs is None:  # the optimizer then leaves them out
            for layer in self._layers:
                layer.train_weights(False)

    def _chosen(self, target: Target) -> dict[int, nn.Parameter]:
        """The parameters to freeze by identity, those that an earlier step has frozen left out."""
        forms = [self.parts] if isinstance(self.parts, str) else self.parts
        chosen: dict[int, nn.Parameter] = {}
        for form in forms:
            chosen.update((id(p), p) for p in self._parameters_of(form, target) if p.requires_grad)
        return chosen

    def _parameters_of(self, form: str, target: Target) -> list[nn.Parameter]:
        owner, _, kind = form.rpartition(".")
        if kind != "all_but_head" and not re.fullmatch(r"first_[0-9]+", kind):
            found = [parameter for name, parameter in target.named_parameters() if matches(name, form)]
            if not found:
                raise ConfigError(
                    f"{self.key}={form}: {no_such_part(form, target)}; or choose all_but_head, first_N (first_2: two layers), none"
                )
            return found
        if not owner and len(target.networks) > 1:
            names = list(target.networks)
            raise ConfigError(
                f"{self.key}={form}: this model has several networks ({', '.join(names)}): name one, e.g. {names[0]}.{form}"
            )
        if owner and owner not in target.networks:
            raise ConfigError(
                f"{self.key}={form}: there is no network {owner}{nearest(owner, target.networks)} "
                f"(networks are {', '.join(target.networks)})"
            )
        network = target.networks[owner] if owner else next(iter(target.networks.values()))
        return self._all_but_head(network) if kind == "all_but_head" else self._first(network, kind)

    def _all_but_head(self, network: nn.Module) -> list[nn.Parameter]:
        head = getattr(network, HEAD, None)
        if head is None:
            raise ConfigError(f"{self.key}=all_but_head: {type(network).__name__} has no part called {HEAD}")
        kept = {id(p) for p in head.parameters()}  # also those that the head shares with an embedding
        return [p for p in network.parameters() if id(p) not in kept]

    def _first(self, network: nn.Module, kind: str) -> list[nn.Parameter]:
        every, count = layers(network), int(kind.partition("_")[2])
        if count >= len(every):
            raise ConfigError(
                f"{self.key}={kind}: {type(network).__name__} has {len(every)} layers with weights; nothing would be left to train"
            )
        return [p for layer in every[:count] for module in layer for p in module.parameters(recurse=False)]

    def describe(self) -> str:
        return self._shown

    def epoch(self, index: int) -> None:
        count = len(self._layers)
        if self.unfreeze_every is not None:
            count = max(0, count - index // self.unfreeze_every)
        elif self.epochs is not None and index >= self.epochs:
            count = 0
        if self.unfreeze_every is not None or self.epochs is not None:
            for place, layer in enumerate(self._layers):
                layer.train_weights(place >= count)
        for layer in self._layers[:count]:
            layer.set_training(False)
        for layer in self._layers[count : self._fixed]:  # Lightning leaves every module in the mode that it has
            layer.set_training(True)
        self._fixed = count


@dataclass(frozen=True)
class _FrozenLayer:
    """The parameters of a layer that are fixed, and its modules that have no other parameters."""

    parameters: list[nn.Parameter]
    modules: list[nn.Module]

    def train_weights(self, train: bool) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(train)

    def set_training(self, training: bool) -> None:
        """False: normalization uses its stored statistics. Modules inside these ones keep their mode."""
        for module in self.modules:
            module.training = training


def _fixed_modules(layer: list[nn.Module], chosen: Mapping[int, nn.Parameter]) -> list[nn.Module]:
    return [module for module in layer if all(id(p) in chosen for p in module.parameters(recurse=False))]


# --- the optimizer's settings --------------------------------------------------------------------------------------


@dataclass
class LearningRates(Step):
    """Learning rates of parts as multiples of the optimizer's; the longest matching name counts, everything else learns at 1.

    Args:
        multiples: name or pattern of a part -> multiple >= 0.
    """

    name: ClassVar[str] = "learning_rates"
    shorthand: ClassVar[str] = "multiples"

    multiples: dict[str, float]
    key: str = field(default="model.lr_scale", compare=False, kw_only=True)

    @classmethod
    def from_value(cls, value: Any, key: str) -> Step | None:
        """As in `Step`; the mapping is that of the parts, or `{multiples: ...}`."""
        if isinstance(value, Mapping) and not isinstance(value.get(cls.shorthand), Mapping):
            value = {cls.shorthand: dict(value)}
        return super().from_value(value or None, key)

    def __post_init__(self) -> None:
        if not isinstance(self.multiples, Mapping):
            raise ConfigError(
                f"{self.key}={self.multiples}: must be a mapping of parts to multiples, e.g. {{head: 10}}"
            )
        self.multiples = {str(name): multiple for name, multiple in self.multiples.items()}
        for name, multiple in self.multiples.items():
            if not isinstance(multiple, (int, float)) or isinstance(multiple, bool) or not multiple >= 0:
                raise ConfigError(f"{self.key}.{name}={multiple}: must be a number >= 0")

    def apply(self, target: Target, context: Context) -> None:
        """Checks the names.

        Raises:
            ConfigError: for a name that no parameter has.
        """
        names = [name for name, _ in target.named_parameters()]
        for pattern in self.multiples:
            if not any(matches(name, pattern) for name in names):
                raise ConfigError(f"{self.key}.{pattern}: {no_such_part(pattern, target)}")

    def settings(
        self, name: str, parameter: nn.Parameter, settings: dict[str, Any], lr: float | None
    ) -> dict[str, Any]:
        matching = [pattern for pattern in self.multiples if matches(name, pattern)]
        if not matching:
            return settings
        base = settings.get("lr", lr)
        if base is None:
            raise ConfigError(
                f"{self.key}: the optimizer's configuration has no learning rate to multiply: set optim.lr"
            )
        return settings | {"lr": base * self.multiples[max(matching, key=len)]}


@dataclass
class NoDecay(Step):
    """No weight decay for biases and the gains of normalization: parameters with fewer than two dimensions."""

    name: ClassVar[str] = "no_decay"

    @classmethod
    def from_value(cls, value: Any, key: str) -> Step | None:
        """The step for `true`, None for `false` and null."""
        if value is None or isinstance(value, bool):
            return cls(key=key) if value else None
        raise ConfigError(f"{key}={value}: must be true or false")

    def settings(
        self, name: str, parameter: nn.Parameter, settings: dict[str, Any], lr: float | None
    ) -> dict[str, Any]:
        return settings | {"weight_decay": 0.0} if parameter.ndim < 2 else settings

    def record(self) -> dict[str, Any]:
        return {self.name: True}


STEPS: dict[str, type[Step]] = {
    step.name: step for step in (Start, Freeze, LearningRates, NoDecay, Lora, BitFit, LastLayer)
}
