"""The interface of the steps of an adaptation.

A step acts on the task before training (`apply`), at the start of an epoch (`epoch`), or on the optimizer's settings for
one parameter (`settings`). Whatever a step does not override it leaves unchanged, so steps combine in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from torch import nn

from mlrun.adapt.sources import Find
from mlrun.adapt.target import Target
from mlrun.config.validate import nearest
from mlrun.errors import ConfigError


@dataclass(frozen=True)
class Context:
    """What a run knows that a step may need.

    Args:
        labels: classes of the data in the order of the network's outputs.
        preprocessor: state of the preprocessor that the task is trained with.
        trust: also load files that can run code.
        find: looks up the id of an MLflow run, see `mlrun.adapt.sources`.
        weights_policy: "offline" or "fetch", see `mlrun.data.published`.
    """

    labels: list[Any] | None = None
    preprocessor: Mapping[str, Any] | None = None
    trust: bool = False
    find: Find | None = None
    weights_policy: str = "offline"


@dataclass
class Step:
    """One step of an adaptation; a subclass is a dataclass whose other fields are its options.

    Args:
        key: the configuration key that error messages name.
    """

    name: ClassVar[str]  # as in `model.adapt`
    shorthand: ClassVar[str]  # the option that a value which is not a mapping of options sets

    key: str = field(default="model.adapt", compare=False, kw_only=True)

    @classmethod
    def from_value(cls, value: Any, key: str) -> Step | None:
        """The step that a value in the configuration describes; None for one that is switched off (null, false, none).

        Raises:
            ConfigError: for unknown options or values of another type.
        """
        if value is None or value is False or value == "none":
            return None
        names = [option.name for option in fields(cls) if option.name != "key"]
        if not isinstance(value, Mapping):
            value = {cls.shorthand: value}
        for name in value:
            if name not in names:
                raise ConfigError(
                    f"{key}.{name}: there is no such option{nearest(name, names)} (options are {', '.join(names)})"
                )
        if cls.shorthand not in value:
            raise ConfigError(f"{key}: needs {cls.shorthand}, e.g. {key}.{cls.shorthand}=...")
        return cls(**value, key=key)

    def apply(self, target: Target, context: Context) -> None:
        """Changes the task before its optimizer is made."""

    def describe(self) -> str:
        """What `apply` did, in one line for the user; empty if there is nothing to say."""
        return ""

    def epoch(self, index: int) -> None:
        """Changes the task at the start of an epoch, counted from 0."""

    def settings(
        self, name: str, parameter: nn.Parameter, settings: dict[str, Any], lr: float | None
    ) -> dict[str, Any]:
        """The optimizer's settings for a parameter, given those of the steps before; `lr`: the learning rate of the optimizer."""
        return settings

    def record(self) -> dict[str, Any]:
        """The step in the form of `model.adapt`, in plain values."""
        options = {option.name: getattr(self, option.name) for option in fields(self) if option.name != "key"}
        return {self.name: {name: value for name, value in options.items() if value is not None}}
