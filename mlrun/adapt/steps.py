"""The steps of an adaptation: start from stored weights, freeze parts, learning rates of parts, no weight decay for gains and biases.

A step acts on the task before training (`apply`), at the start of an epoch (`epoch`), or on the optimizer's settings for
one parameter (`settings`). Whatever a step does not override it leaves unchanged, so steps combine in any order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from mlrun.adapt.by_word import copy_by_word, file_vectors, is_vector_file, run_vectors
from mlrun.adapt.sources import (
    TORCHVISION,
    Find,
    classes_of,
    find_weights,
    recipe_beside,
    stored_tensors,
    torchvision_tensors,
)
from mlrun.adapt.target import HEAD, Target, for_backbone, layers, matches
from mlrun.adapt.vocabulary import learned_tokens, misleading_sizes, preprocessor_of, vocabularies
from mlrun.config.validate import nearest
from mlrun.errors import ConfigError

SHOWN = 6  # names in a message


@dataclass(frozen=True)
class Context:
    """What a run knows that a step may need.

    Args:
        labels: classes of the data in the order of the network's outputs.
        preprocessor: state of the preprocessor that the task is trained with.
        trust: also load files that can run code.
        find: looks up the id of an MLflow run, see `mlrun.adapt.sources`.
    """

    labels: list[Any] | None = None
    preprocessor: Mapping[str, Any] | None = None
    trust: bool = False
    find: Find | None = None


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


# --- weights -------------------------------------------------------------------------------------------------------


@dataclass
class Loaded:
    """Names of the tensors of a task, and of its source, by what became of them."""

    source: str
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(
        default_factory=list
    )  # of another shape in the source, such as a head for other classes
    other_classes: list[str] = field(
        default_factory=list
    )  # a head of the same shape that was trained for other classes
    excluded: list[str] = field(default_factory=list)  # outside `only`
    absent: list[str] = field(default_factory=list)  # in the task, not in the source
    unused: list[str] = field(default_factory=list)  # in the source, not in the task
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded from {self.source}"]
        for names, what in (
            (self.reshaped, "of another shape, initialized at random"),
            (self.other_classes, "for other classes, initialized at random"),
            (self.excluded, "outside model.init_only, initialized at random"),
            (self.absent, "not in the source, initialized at random"),
            (self.unused, "of the source not used"),
        ):
            if names:
                lines.append(f"{len(names)} {what}: {_some(names)}")
        return "; ".join([*lines, *self.notes])


@dataclass
class Start(Step):
    """Copies into the task every tensor of a source that has the same name and shape.

    A head that was trained for other classes, where the source records its classes, keeps its random initialization. The layers of a
    classifier also fit a backbone that is made of the same network.

    From word vectors (a run of word2vec or GloVe, a file in their text format) the embedding of another model's vocabulary starts by word.

    Args:
        source: directory of a run, id of an MLflow run, checkpoint, file of tensors or of word vectors, or `torchvision:NAME`, whose
            tensors are matched by their order.
        only: names or patterns of the parts to load; None: all.
    """

    name: ClassVar[str] = "start"
    shorthand: ClassVar[str] = "source"

    source: str
    only: list[str] | None = None
    key: str = field(default="model.init_from", compare=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.source, str):
            raise ConfigError(f"{self.key}={self.source}: must be text")
        self.only = _names(self.only, self._only_key)
        self.loaded = Loaded(self.source)
        self._shown = ""  # of word vectors

    @property
    def _only_key(self) -> str:
        return "model.init_only" if self.key == "model.init_from" else f"{self.key}.only"

    @torch.no_grad()
    def apply(self, target: Target, context: Context) -> None:
        """Loads the weights.

        Raises:
            ConfigError: if the source does not exist, nothing in it fits, or its vocabulary has the same size but other tokens.
            UserError: if a file is damaged, or can run code and is not trusted.
        """
        published = self.source.startswith(TORCHVISION)
        from_file = not published and is_vector_file(self.source)
        weights = None if published or from_file else find_weights(self.source, context.find, self.key)
        if not any(
            hasattr(one, "vectors") for one in target.networks.values()
        ):  # this is no model of word vectors itself
            vectors = (
                file_vectors(self.source) if from_file else run_vectors(weights, context.trust) if weights else None
            )
            if vectors is not None:
                words = next(iter(vocabularies(context.preprocessor)), [])
                learned = learned_tokens(context.preprocessor, words)
                self._shown = copy_by_word(vectors, target, words, learned, f"{self.key}={self.source}")
                return
        tensors, recipe = self._read(target, context, weights)
        own, report = target.task.state_dict(), Loaded(self.source)
        tensors = for_backbone(tensors, own, target.prefix)
        if self.only is not None:
            names = [target.name_of(name) for name in own]
            for pattern in self.only:
                if not any(matches(name, pattern) for name in names):
                    raise ConfigError(f"{self._only_key}: {_no_such_part(pattern, target)}")
        trained_for = classes_of(recipe)
        other_classes = context.labels is not None and trained_for not in (None, list(context.labels))
        heads = tuple(f"{network}.{HEAD}." for network in target.networks)
        for full, tensor in own.items():
            name = target.name_of(full)
            if not self._wanted(name):
                report.excluded.append(name)
            elif full not in tensors:
                report.absent.append(name)
            elif tensors[full].shape != tensor.shape:
                report.reshaped.append(name)
            elif other_classes and full.startswith(heads):
                report.other_classes.append(name)
            else:
                report.loaded.append(full)
        if len(report.loaded) < len(own):
            # Counters of the task, such as the steps behind a moving average, hold for a whole set of weights only.
            counters = {full for full, _ in target.task.named_buffers(recurse=False)} & set(report.loaded)
            report.loaded = [full for full in report.loaded if full not in counters]
        report.unused = [
            target.name_of(full) for full in tensors if full not in own and self._wanted(target.name_of(full))
        ]
        if not report.loaded:
            within = "" if self.only is None else f" within {self._only_key}=[{', '.join(self.only)}]"
            raise ConfigError(
                f"{self.key}={self.source}: none of its {len(tensors)} tensors fits this network by name and shape{within}"
            )
        self._check_vocabulary(target, context, recipe, report)
        for full in report.loaded:
            own[full].copy_(tensors[full])
        report.loaded = [target.name_of(full) for full in report.loaded]
        self.loaded = report

    def _read(
        self, target: Target, context: Context, weights: Path | None
    ) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The tensors of the source by their full name in the task, and its recipe. weights: its file; None: published tensors."""
        if weights is None:
            if not self.source.startswith(TORCHVISION):
                raise ConfigError(
                    f"{self.key}={self.source}: a model of word vectors starts from a run of its kind, not from a file of vectors"
                )
            return torchvision_tensors(self.source[len(TORCHVISION) :], target, self.key), {}
        return stored_tensors(weights, target, context.trust), recipe_beside(weights)

    def _wanted(self, name: str) -> bool:
        return self.only is None or any(matches(name, pattern) for pattern in self.only)

    def _check_vocabulary(self, target: Target, context: Context, recipe: dict[str, Any], report: Loaded) -> None:
        source = preprocessor_of(recipe)
        if source is None:
            if vocabularies(context.preprocessor) and not self.source.startswith(TORCHVISION):
                report.notes.append("the source does not record its vocabulary, so it was not compared with this one")
            return
        sizes = misleading_sizes(context.preprocessor, source)
        own = target.task.state_dict()
        wrong = [target.name_of(full) for full in report.loaded if own[full].ndim and len(own[full]) in sizes]
        if wrong:
            raise ConfigError(
                f"{self.key}={self.source}: its vocabulary has as many tokens as this one ({sizes[0]}), but other tokens, so "
                f"{_some(wrong)} would be loaded for other words. Use the dataset and tokenizer of the source, or leave these "
                f"parts out with {self._only_key}"
            )

    def describe(self) -> str:
        return self._shown or str(self.loaded)


# --- freezing ------------------------------------------------------------------------------------------------------


@dataclass
class Freeze(Step):
    """Fixes parts of the networks: no gradient, and normalization with the statistics that it has.

    Args:
        parts: `all_but_head`, `first_N` (layers with weights, counted from the input), or a list of names and patterns. With
            several networks, `all_but_head` and `first_N` need the name of one: `encoder.first_2`. A list can hold all of these.
        unfreeze_every: after each so many epochs the last frozen layer is trained too (gradual unfreezing, Howard and Ruder
            2018, arXiv:1801.06146); None: never.
    """

    name: ClassVar[str] = "freeze"
    shorthand: ClassVar[str] = "parts"

    parts: str | list[str]
    unfreeze_every: int | None = None
    key: str = field(default="model.freeze", compare=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.parts, str):
            self.parts = _names(self.parts, self.key) or []
        every = self.unfreeze_every
        if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise ConfigError(f"{self.key}: unfreeze_every={every}: must be an integer >= 1 or null")
        self._layers: list[_FrozenLayer] = []
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
        self._shown = f"{count:,} of {whole:,} parameters frozen{gradually}: {_some(names)}"
        if all(id(p) in chosen for p in target.task.parameters() if p.requires_grad):
            raise ConfigError(f"{self.key}: every parameter of the model is frozen; nothing would be left to train")
        if self.unfreeze_every is None:  # the optimizer then leaves them out
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
                    f"{self.key}={form}: {_no_such_part(form, target)}; or choose all_but_head, first_N (first_2: two layers), none"
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
            for place, layer in enumerate(self._layers):
                layer.train_weights(place >= count)
        for layer in self._layers[:count]:
            layer.evaluate()


@dataclass(frozen=True)
class _FrozenLayer:
    """The parameters of a layer that are fixed, and its modules that have no other parameters."""

    parameters: list[nn.Parameter]
    modules: list[nn.Module]

    def train_weights(self, train: bool) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(train)

    def evaluate(self) -> None:
        """Normalization uses its stored statistics. Modules inside these ones keep their mode."""
        for module in self.modules:
            module.training = False


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
                raise ConfigError(f"{self.key}.{pattern}: {_no_such_part(pattern, target)}")

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


STEPS: dict[str, type[Step]] = {step.name: step for step in (Start, Freeze, LearningRates, NoDecay)}


def _some(names: Sequence[str], most: int = SHOWN) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _names(value: Any, key: str) -> list[str] | None:
    """A list of names from the configuration; one name stands for itself."""
    names = [value] if isinstance(value, str) else value
    if names is not None and not (isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)):
        raise ConfigError(f"{key}={value}: must be a list of names")
    return None if names is None else list(names)


def _no_such_part(pattern: str, target: Target) -> str:
    parts = target.parts()
    return f"no part is named {pattern}{nearest(pattern, parts)} (parts are {', '.join(parts)})"
