"""Steps that train few of the parameters of a network that starts from earlier work: LoRA, biases alone, the last layer alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from mlrun.adapt.names import names_of, no_such_part, some
from mlrun.adapt.step import Context, Step
from mlrun.adapt.target import HEAD, Target, matches
from mlrun.errors import ConfigError
from mlrun.networks.layers.lora import ADAPTER, LoRALinear


@dataclass
class FewParameters(Step):
    """Base: fixes all parameters but some. Checkpoints of a training that starts from earlier weights then hold the trained ones alone.

    Args:
        also: names or patterns of parts that are trained as a whole, such as a head for another task.
    """

    also: list[str] = field(default_factory=lambda: [HEAD])

    def __post_init__(self) -> None:
        self.also = names_of(self.also, f"{self.key}.also") or []
        self._shown = ""

    def trains(self, name: str) -> bool:
        """Whether a parameter outside `also` is trained."""
        raise NotImplementedError

    def apply(self, target: Target, context: Context) -> None:
        """Fixes the other parameters.

        Raises:
            ConfigError: a name of `also` that no part has, or nothing is left to train.
        """
        parameters = list(target.named_parameters())
        for pattern in self.also:
            if pattern != HEAD and not any(matches(name, pattern) for name, _ in parameters):
                raise ConfigError(f"{self.key}.also: {no_such_part(pattern, target)}")
        trained = 0
        for name, parameter in parameters:
            # what is fixed already stays so: a moving average, a feature extractor, the layers of an earlier step
            keep = parameter.requires_grad and (
                self.trains(name) or any(matches(name, pattern) for pattern in self.also)
            )
            parameter.requires_grad_(keep)
            trained += parameter.numel() if keep else 0
        whole = sum(p.numel() for network in target.networks.values() for p in network.parameters())
        if not trained:
            raise ConfigError(f"{self.key}: nothing is left to train; name the parts to be trained in {self.key}.also")
        self._shown = f"{self.name}: {trained:,} of {whole:,} parameters are trained ({trained / whole:.2%})"

    def describe(self) -> str:
        return self._shown


@dataclass
class Lora(FewParameters):
    """Fixes linear layers and trains a product of two small matrices beside each, see `mlrun.networks.layers.lora`.

    Args:
        rank: of the product.
        alpha: its scale; None: twice the rank.
        dropout: of its input.
        layers: names or patterns of the linear layers, or of parts that contain them.
        also: see `FewParameters`.
    """

    name: ClassVar[str] = "lora"
    shorthand: ClassVar[str] = "rank"

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    layers: list[str] = field(default_factory=lambda: ["*.attention"])
    key: str = field(default="model.adapt", compare=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise ConfigError(f"{self.key}.rank={self.rank}: must be a whole number of at least 1")
        if self.alpha is not None and (not isinstance(self.alpha, (int, float)) or not self.alpha > 0):
            raise ConfigError(f"{self.key}.alpha={self.alpha}: must be a number above 0")
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ConfigError(f"{self.key}.dropout={self.dropout}: must be at least 0 and less than 1")
        self.layers = names_of(self.layers, f"{self.key}.layers") or []

    def trains(self, name: str) -> bool:
        return name.rpartition(".")[2] in ADAPTER

    def apply(self, target: Target, context: Context) -> None:
        """Puts the matrices beside the layers.

        Raises:
            ConfigError: a pattern names no linear layer, or one that shares its weight.
        """
        chosen: dict[str, nn.Linear] = {}
        linear = {name: module for name, module in target.named_modules() if type(module) is nn.Linear}
        for pattern in self.layers:
            found = {name: module for name, module in linear.items() if matches(name, pattern)}
            if not found:
                raise ConfigError(f"{self.key}.layers={pattern}: names no linear layer; they are {some(list(linear))}")
            for name, layer in found.items():
                other = _sharing(target, name, layer.weight)
                if other:  # merged, the product would change that layer too
                    raise ConfigError(
                        f"{self.key}.layers={pattern}: {name} shares its weight with {other}; leave it out, or train with weights of their "
                        f"own (tied: false)"
                    )
            chosen |= found
        alpha = 2 * self.rank if self.alpha is None else self.alpha
        for parent in target.task.modules():
            for name, child in list(parent.named_children()):
                if any(child is layer for layer in chosen.values()):
                    assert isinstance(child, nn.Linear)
                    setattr(parent, name, LoRALinear(child, self.rank, alpha, self.dropout))
        super().apply(target, context)
        self._shown += f"; in {len(chosen)} layers of rank {self.rank}"


def _sharing(target: Target, name: str, weight: Tensor) -> str | None:
    """Another module that has the weight of the layer `name`."""
    owners = (
        target.name_of(full).rpartition(".")[0]
        for full, parameter in target.task.named_parameters(remove_duplicate=False)
        if parameter is weight
    )
    return next((owner for owner in owners if owner != name), None)


@dataclass
class BitFit(FewParameters):
    """Trains the biases alone (Ben Zaken et al. 2021, arXiv:2106.10199).

    Args:
        also: see `FewParameters`.
    """

    name: ClassVar[str] = "bitfit"
    shorthand: ClassVar[str] = "also"
    key: str = field(default="model.adapt", compare=False, kw_only=True)

    @classmethod
    def from_value(cls, value: Any, key: str) -> Step | None:
        return cls(key=key) if value is True else super().from_value(value, key)

    def trains(self, name: str) -> bool:
        return name.rpartition(".")[2] == "bias"


@dataclass
class LastLayer(FewParameters):
    """Trains the head alone, on the features of the network as it is.

    Args:
        also: the parts that are trained.
    """

    name: ClassVar[str] = "last_layer"
    shorthand: ClassVar[str] = "also"
    key: str = field(default="model.adapt", compare=False, kw_only=True)

    @classmethod
    def from_value(cls, value: Any, key: str) -> Step | None:
        return cls(key=key) if value is True else super().from_value(value, key)

    def trains(self, name: str) -> bool:
        return False
