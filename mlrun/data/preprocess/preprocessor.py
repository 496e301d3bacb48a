"""Preprocessors convert between raw examples and the tensors of a network. They belong to the model.

A preprocessor is fitted on the training split, saved with the weights, and inherited by a run that starts from them (`model.init_from`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.config.instantiate import instantiate
from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Image, Label, restore_all
from mlrun.data.predictions import (
    ActionPredictions,
    GroupPredictions,
    PicturePredictions,
    Predictions,
    ScorePredictions,
    VectorPredictions,
)
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.images import ImageEncoder
from mlrun.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.augment.images import Augmentation
    from mlrun.data.augment.motion import Part
    from mlrun.data.batches import Batch
    from mlrun.data.module import DataModule

GENERAL: dict[str, Callable[[np.ndarray], Predictions]] = {  # outputs whose meaning does not depend on a target
    "vectors": VectorPredictions,
    "groups": GroupPredictions,
    "scores": ScorePredictions,
    "pixels": PicturePredictions,
}


# Key of the state of a preprocessor whose tokenizer's words have vectors, which another model can start from, matched by word.
OFFERS_WORDS = "offers_words"


class Preprocessor(ABC):
    """Base of all preprocessors. A subclass writes `fit`, `encode`, `decode`, `state` and `from_state`.

    inputs, targets: name -> feature of the examples that it reads; examples to be predicted may lack the targets.
    """

    inputs: dict[str, Feature]
    targets: dict[str, Feature]

    @abstractmethod
    def fit(self, train: Examples) -> None:
        """Learns vocabularies, moments and categories from the training examples."""

    @abstractmethod
    def encode(self, examples: Examples) -> dict[str, Any]:
        """Name of a tensor -> array (rows, ...), `Sequences`, or a list if sizes differ; inputs first, then the available targets."""

    @abstractmethod
    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        """A task's outputs as arrays -> predictions in terms of the data. examples: the rows of the outputs."""

    @property
    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain containers from which `load` builds the same preprocessor."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Preprocessor:
        """The preprocessor with this `state`."""

    @property
    def spec(self) -> dict[str, Any]:
        """Shapes and sizes that a network or task may request by name, as plain values."""
        return {}

    def inherit(self, state: Mapping[str, Any]) -> list[str]:
        """After `fit`: takes vocabularies and moments of the inputs from the `state` of the run that supplies the weights. Returns the names
        of the inputs that were compatible."""
        return []

    @property
    def input_keys(self) -> tuple[str, ...]:
        """Names of the input tensors of a batch; the others are targets."""
        return ()

    def deferred(
        self, examples: Examples, training: bool, device: torch.device | str
    ) -> tuple[Callable[[Examples], dict[str, Any]], Callable[..., Batch], bool] | None:
        """(encode compactly, finish a batch on the device, whether `finish` is random) for data kept in their storage format until a batch
        is used; None if `encode` does everything at once. A random finish takes (batch, generator), another (batch)."""
        return None


def load(state: Mapping[str, Any]) -> Preprocessor:
    """The preprocessor with this `state`, of the class named there."""
    return _located(state["_target_"]).from_state(state)


def make_preprocessor(node: Mapping[str, Any] | None, data: DataModule, **options: Any) -> Preprocessor:
    """A model's preprocessor for prepared data, fitted on the training split.

    The dataset's settings (`normalize`, `tokenizer`, ...) are defaults for those of the model's node.

    Args:
        node: `preprocessor` of the model's YAML, None for the default of the dataset.
        data: the prepared data.
        options: further arguments.

    Raises:
        DataError: there are no training rows, or a setting does not exist.
    """
    features = data.features
    sides = ({name: features[name] for name in names} for names in (data.inputs, data.targets))
    given = {**dict(zip(("inputs", "targets"), sides)), **data.preprocessing, **options}
    target = (node or {}).get("_target_") or data.preprocessor
    made = instantiate({**given, **(node or {}), "_target_": target}, "model.preprocessor")
    train = data.examples_to_learn_from
    if not len(train):
        raise DataError(f"{data.title}: no training rows (dataset.split.train)")
    made.fit(train)
    return made


class FeaturePreprocessor(Preprocessor):
    """One encoder for each feature, determined by the feature's kind.

    If the encoders of two inputs produce tensors of the same name, the feature's name becomes a prefix: `front_pixel_values`.

    Args:
        inputs, targets: the features of the dataset.
        estimator: encode for a scikit-learn estimator (matrices in the data's own unit) instead of a network.
        augment: steps of `mlrun.data.augment.images` that augment training images.
        settings: of the encoders, such as `normalize`, `image_size`, `tokenizer`; each encoder takes its own.
    """

    def __init__(
        self,
        inputs: Mapping[str, Feature],
        targets: Mapping[str, Feature],
        estimator: bool = False,
        augment: Sequence[Any] = (),
        **settings: Any,
    ):
        self.inputs, self.targets, self.augment = dict(inputs), dict(targets), list(augment or ())
        self.encoders = {
            name: _encoder(name, feature, estimator and name in self.inputs)(feature, **settings)
            for name, feature in {**self.inputs, **self.targets}.items()
        }
        for name, encoder in self.encoders.items():
            encoder.name = name
        for name in self.targets:
            self.encoders[name].inputs = {one: self.encoders[one] for one in self.inputs}
        self._names = self._tensor_names()

    def _tensor_names(self) -> dict[str, bool]:
        """Name of the feature -> whether it is a prefix of the names of its tensors."""
        keys = [self.encoders[name].key for name in self.inputs]
        return {name: keys.count(self.encoders[name].key) > 1 for name in self.inputs}

    def _named(self, name: str, tensor: str) -> str:
        return f"{name}_{tensor}" if self._names.get(name) else tensor

    def fit(self, train: Examples) -> None:
        for name, encoder in self.encoders.items():
            if name in train:
                encoder.fit(train[name])
        for name in self.targets:
            if name in train:
                self.encoders[name].prepare(train)
        for step in self.augment:
            if hasattr(step, "fit"):
                name, image = self._image()
                column, encoder, scale = train[name], self.encoders[name], image.value_range
                key = encoder.key
                step.fit(
                    encoder.compact(column[start : start + 4096])[key] / scale for start in range(0, len(column), 4096)
                )

    def encode(self, examples: Examples) -> dict[str, Any]:
        return self._encode(examples, compact=())

    def _encode(self, examples: Examples, compact: Sequence[str]) -> dict[str, Any]:
        encoded: dict[str, Any] = {}
        for name, encoder in self.encoders.items():
            if name not in examples:
                if name in self.inputs:
                    raise DataError(f"the examples have no {name!r}, which the model was trained with")
                continue
            column = examples[name]
            made = encoder.compact(column) if name in compact else encoder.encode(column, examples)
            encoded.update({self._named(name, tensor): values for tensor, values in made.items()})
        return encoded

    @property
    def input_keys(self) -> tuple[str, ...]:
        return tuple(
            self._named(name, key)
            for name in self.inputs
            for key in (self.encoders[name].key, *self.encoders[name].further_keys)
        )

    def inherit(self, state: Mapping[str, Any]) -> list[str]:
        if state.get(OFFERS_WORDS):
            for name in self.inputs:
                self.encoders[name].extend(state["tokenizer"]["vocabulary"])
        if state.get("_target_") != self.state["_target_"]:
            return []
        taken = []
        for name, feature in self.inputs.items():
            theirs = state["inputs"].get(name)
            if theirs is not None and theirs["_target_"] == feature.state()["_target_"]:
                if self.encoders[name].inherit(state["encoders"][name]):
                    taken.append(name)
        return taken

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        for name in self.targets:
            if self.encoders[name].outputs and self.encoders[name].outputs <= outputs.keys():
                return self.encoders[name].decode(outputs, examples)
        return decode_general(outputs)

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in [*self.targets, *reversed(self.inputs)]:  # of several inputs the first one takes precedence
            spec = self.encoders[name].spec
            found.update(spec)
            if "input_shape" in spec:
                found[f"{name}_shape"] = spec["input_shape"]
        return found

    @property
    def state(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": {name: feature.state() for name, feature in self.inputs.items()},
            "targets": {name: feature.state() for name, feature in self.targets.items()},
            "encoders": {name: encoder.state for name, encoder in self.encoders.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FeaturePreprocessor:
        inputs, targets = (restore_all(state[side]) for side in ("inputs", "targets"))
        made = cls(inputs, targets)
        for name, learned in state["encoders"].items():
            made.encoders[name].restore(learned)
        return made

    def deferred(
        self, examples: Examples, training: bool, device: torch.device | str
    ) -> tuple[Callable[[Examples], dict[str, Any]], Callable[..., Batch], bool] | None:
        if training and self.augment:
            name, _ = self._image()
            change = self._augmentation(device)
            key = self._named(name, self.encoders[name].key)

            targets = [self.encoders[target] for target in self.targets]

            def augmented(batch: Batch, generator: torch.Generator) -> Batch:
                def follow(parts: list[Part]) -> None:
                    for target in targets:
                        target.follow(batch, parts)

                labels = batch.get("labels") if change.mixes else None
                batch[key], labels = change(batch[key], labels, generator, follow)
                if change.mixes:
                    batch["labels"] = labels
                return batch

            return lambda rows: self._encode(rows, compact=[name]), augmented, True
        large = [name for name in self.inputs if self.encoders[name].is_large(examples.columns[name], len(examples))]
        if not large:
            return None
        steps = {self._named(name, self.encoders[name].key): self.encoders[name].finish(device) for name in large}

        def finish(batch: Batch) -> Batch:
            for key, step in steps.items():
                batch[key] = step(batch[key])
            return batch

        return lambda rows: self._encode(rows, compact=large), finish, False

    def _image(self) -> tuple[str, Image]:
        """The image that is augmented. Raises ConfigError if there is none, or the target would become wrong."""
        images = [(name, feature) for name, feature in self.inputs.items() if isinstance(feature, Image)]
        if not images:
            raise ConfigError("augment: changes images, and this dataset has none")
        for name, feature in self.targets.items():
            for step in self.augment:
                kind = type(step).__name__
                if not (self.encoders[name].follows or getattr(step, "keeps_places", False)):
                    raise ConfigError(
                        f"augment: {kind} moves or hides pixels, and the target is a {feature.kind}, which would not change together "
                        f"with its image; choose steps that change colours alone"
                    )
                if getattr(step, "mixes", False) and not isinstance(feature, Label):
                    raise ConfigError(f"augment: {kind} mixes classes; this dataset's target is {feature.kind}")
                if getattr(step, "joins", False) and not self.encoders[name].follows_joined:
                    raise ConfigError(f"augment: {kind} joins images; this dataset's target is {feature.kind}")
        if not self.targets:
            raise ConfigError("augment: is for images with a target each, and this dataset has none")
        return images[0]

    def _augmentation(self, device: torch.device | str) -> Augmentation:
        from mlrun.data.augment.images import Augmentation

        name, image = self._image()
        encoder, target = self.encoders[name], next(iter(self.targets.values()))
        assert isinstance(encoder, ImageEncoder)
        classes = len(target.classes) if isinstance(target, Label) else 0
        return Augmentation(self.augment, encoder.scaling, image.value_range, classes, device)

    def augmented_examples(
        self, train: Examples, seed: int, images: int = 4, versions: int = 7
    ) -> tuple[np.ndarray, np.ndarray]:
        """Training images of several classes, original and augmented: pixels (images, 1 + versions, channels, height, width) from 0
        to 1, and their class weights (images, 1 + versions, classes)."""
        import torch
        from torch.nn import functional as F

        name, _ = self._image()
        target = next(iter(self.targets))
        _, first = np.unique(train[target], return_index=True)  # one of each class
        shown = train.take(first[:images])
        augmentation = self._augmentation("cpu")
        x, y = torch.from_numpy(np.asarray(shown[name])), torch.from_numpy(shown[target])
        pixels, shares = [], []
        for version in range(1 + versions):
            steps = augmentation.steps
            augmentation.steps = steps if version else []
            changed, labels = augmentation.change(x, y, torch.Generator().manual_seed(seed + version))
            augmentation.steps = steps
            pixels.append(changed)
            shares.append(labels if labels.is_floating_point() else F.one_hot(labels, augmentation.classes).float())
        return torch.stack(pixels, 1).numpy(), torch.stack(shares, 1).numpy()


def decode_general(outputs: Mapping[str, Any]) -> Predictions:
    """Predictions of outputs whose meaning does not depend on a target, such as codes or clusters. Raises ValueError for others."""
    if "actions" in outputs:
        scores = outputs.get("scores")
        return ActionPredictions(np.asarray(outputs["actions"]), None if scores is None else np.asarray(scores))
    for name, kind in GENERAL.items():
        if name in outputs:
            return kind(np.asarray(outputs[name]))
    raise ValueError(f"outputs named {', '.join(outputs)} are not predictions of this dataset's target")


def _encoder(name: str, feature: Feature, estimator: bool) -> type[Encoder]:
    path = feature.estimator_encoder if estimator else feature.encoder
    if path is None:
        raise ConfigError(f"dataset: a feature of kind {feature.kind} ({name}) cannot be used with this kind of model")
    return _located(path)


def _located(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
