"""The step that starts from stored weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from mlrun.adapt.by_word import copy_by_word, file_vectors, is_vector_file, run_vectors
from mlrun.adapt.names import names_of, no_such_part, some
from mlrun.adapt.sources import (
    TORCHVISION,
    classes_of,
    find_weights,
    recipe_beside,
    stored_tensors,
    torchvision_tensors,
)
from mlrun.adapt.step import Context, Step
from mlrun.adapt.target import HEAD, SINGLE, Target, for_backbone, matches
from mlrun.adapt.vocabulary import learned_tokens, misleading_sizes, preprocessor_of, vocabularies
from mlrun.data.published import directory_of, is_published, published_config, published_tensors, wanted_sizes
from mlrun.errors import ConfigError


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
                lines.append(f"{len(names)} {what}: {some(names)}")
        return "; ".join([*lines, *self.notes])


@dataclass
class Start(Step):
    """Copies into the task every tensor of a source that has the same name and shape.

    A head that was trained for other classes, where the source records its classes, keeps its random initialization. The layers of a
    classifier also fit a backbone that is made of the same network.

    From word vectors (a run of word2vec or GloVe, a file in their text format) the embedding of another model's vocabulary starts by word.

    Args:
        source: directory of a run, id of an MLflow run, checkpoint, file of tensors or of word vectors; a published checkpoint, see
            `mlrun.data.published`, whose tensors the network's method `translate` renames; or `torchvision:NAME`, whose tensors are
            matched by their order.
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
        self.only = names_of(self.only, self._only_key)
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
        published = self.source.startswith(TORCHVISION) or is_published(self.source)
        from_file = not published and is_vector_file(self.source)
        weights = None if published or from_file else find_weights(self.source, context.find, self.key)
        if not any(
            hasattr(one, "vectors") for one in target.networks.values()
        ):  # this is not a model of word vectors itself
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
        tensors = resized(for_backbone(tensors, own, target.prefix), target)
        if self.only is not None:
            names = [target.name_of(name) for name in own]
            for pattern in self.only:
                if not any(matches(name, pattern) for name in names):
                    raise ConfigError(f"{self._only_key}: {no_such_part(pattern, target)}")
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
        if is_published(self.source):
            return self._published(target, context), {}
        if weights is None:
            if not self.source.startswith(TORCHVISION):
                raise ConfigError(
                    f"{self.key}={self.source}: a model of word vectors starts from a run of its kind, not from a file of vectors"
                )
            return torchvision_tensors(self.source[len(TORCHVISION) :], target, self.key), {}
        return stored_tensors(weights, target, context.trust), recipe_beside(weights)

    def _published(self, target: Target, context: Context) -> dict[str, torch.Tensor]:
        where = f"{self.key}={self.source}"
        network: Any = target.networks.get(SINGLE)
        if not hasattr(network, "translate"):
            raise ConfigError(
                f"{where}: this model cannot start from a published checkpoint, because it has another architecture"
            )
        folder = directory_of(self.source, context.weights_policy, self.key)
        translated = network.translate(published_tensors(folder, context.trust))
        own = network.state_dict()
        shared = [name for name in translated if name in own]
        if shared and not any(own[name].shape == translated[name].shape for name in shared if own[name].ndim > 1):
            sizes = wanted_sizes(published_config(folder))
            raise ConfigError(f"{where}: differs in size from this network" + (f"; set {sizes}" if sizes else ""))
        return {f"{SINGLE}.{name}": tensor for name, tensor in translated.items()}

    def _wanted(self, name: str) -> bool:
        return self.only is None or any(matches(name, pattern) for pattern in self.only)

    def _check_vocabulary(self, target: Target, context: Context, recipe: dict[str, Any], report: Loaded) -> None:
        source = preprocessor_of(recipe)
        if source is None:
            if (
                vocabularies(context.preprocessor)
                and not self.source.startswith(TORCHVISION)
                and not is_published(self.source)
            ):
                report.notes.append("the source does not record its vocabulary, so it was not compared with this one")
            return
        sizes = misleading_sizes(context.preprocessor, source)
        own = target.task.state_dict()
        wrong = [target.name_of(full) for full in report.loaded if own[full].ndim and len(own[full]) in sizes]
        if wrong:
            raise ConfigError(
                f"{self.key}={self.source}: its vocabulary has the same size as this one ({sizes[0]}), but different tokens, so "
                f"{some(wrong)} would be loaded for the wrong words. Use the dataset and tokenizer of the source, or leave these "
                f"parts out with {self._only_key}"
            )

    def describe(self) -> str:
        return self._shown or str(self.loaded)


def resized(tensors: dict[str, torch.Tensor], target: Target) -> dict[str, torch.Tensor]:
    """The tensors, of which a network's method `resized` adapts those that depend on the size of its images."""
    for network in target.networks:
        adapt, prefix = getattr(target.networks[network], "resized", None), f"{network}."
        if adapt is not None:
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            tensors = {**tensors, **{prefix + name: tensor for name, tensor in adapt(own).items()}}
    return tensors
