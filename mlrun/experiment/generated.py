"""`augment=generated`: a run of a conditional generative model draws further training images of each class.

Such a run must not have seen the rows on which the classifier is selected and evaluated: their images are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from mlrun.adapt.adaptation import Adaptation
from mlrun.data.digest import image_digests
from mlrun.data.features import Image, Label
from mlrun.data.module import DataModule
from mlrun.data.row_data import RowData
from mlrun.errors import ConfigError, UserError
from mlrun.experiment.processes import is_follower
from mlrun.experiment.stored import open_data, open_run, run_id_of
from mlrun.predictions.samples import known_classes
from mlrun.report.notify import notify

if TYPE_CHECKING:
    from mlrun.predictions.learner import Learner
    from mlrun.tracking.run import NullRun, Run

FILE = "generated.npz"  # in the run's directory: the images that were drawn, for resuming and for looking at
MODELS = "model=conditional_gan, conditional_vae or diffusion"


@dataclass
class LabelledImages:
    """Data of images of one size with a class each. image, label: names of their columns."""

    data: RowData
    image: str
    label: str
    shape: list[int]
    value_range: float
    classes: list[str]

    @classmethod
    def of(cls, data: DataModule) -> LabelledImages | None:
        """None for other data."""
        image, label = (data.features[names[0]] if len(names) == 1 else None for names in (data.inputs, data.targets))
        if not (isinstance(data, RowData) and isinstance(image, Image) and isinstance(label, Label) and image.shape):
            return None
        classes = [str(one) for one in label.classes]
        return cls(data, data.inputs[0], data.targets[0], list(image.shape), image.value_range, classes)

    def digests(self, part: str) -> list[bytes]:
        """A hash of each image of a part."""
        return image_digests(self.data.examples(part)[self.image], self.value_range)


def extend(
    data: DataModule, cfg: dict[str, Any], directory: Path, tracked: Run | NullRun, resumes: bool
) -> tuple[int, tuple[str, str]]:
    """Appends the images that the run `augment.run` generates to the training part of prepared data.

    Of each class there are `augment.share` times as many as real ones. They depend on the seed alone, and a resumed run reads those that it
    drew before.

    Args:
        data: images with a class each.
        cfg: of the run that learns from them.
        directory: of this run.
        tracked: this run, tagged with the generative one.
        resumes: whether training continues from a checkpoint.

    Returns:
        The number of images, and (name, text) of a line about them in the summary.

    Raises:
        ConfigError: the run cannot generate images of all classes of the data, or it has seen rows of validation or test.
        UserError: the run cannot be opened.
    """
    run, share = cfg["augment"]["run"], cfg["augment"]["share"]
    if cfg["trainer"].get("folds"):
        raise ConfigError(
            f"{_key(cfg)}: with trainer=kfold every fold has other training rows, and would need a generative model of its own; "
            "use several seeds instead, each with a generative run of its own"
        )
    real = LabelledImages.of(data)
    if real is None:
        raise ConfigError(f"{_key(cfg)}: {data.title} does not consist of images of one size with a class each")
    if resumes and (directory / FILE).is_file():
        images, labels = _kept(directory / FILE)
    else:
        images, labels = _drawn(real, cfg)
        tracked.tags({"generator": run_id_of(run) or run})
        if not is_follower():
            np.savez_compressed(directory / FILE, images=images, labels=labels)
    real.data.extend({real.image: images, real.label: labels})
    return len(labels), ("generated", f"{len(labels):,} images by {run}, {share:g} per real one of each class")


def _key(cfg: dict[str, Any]) -> str:
    return f"augment.run={cfg['augment']['run']}"


def _kept(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return arrays["images"], arrays["labels"]
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}), and the run cannot resume without it; start it again") from None


def _drawn(real: LabelledImages, cfg: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Images (rows, channels, height, width) in the unit of the data, and their classes (rows,)."""
    import torch

    run = cfg["augment"]["run"]
    theirs, learner = open_run(run, bool(cfg["trust"]))
    task = _checked_task(learner, theirs["model"]["name"], cfg)
    column = real.data.content.columns[real.image]
    counts = np.bincount(real.data.examples("train")[real.label], minlength=len(real.classes))
    _check_shape(learner, real, cfg)
    places = _places(known_classes(learner), real, counts, cfg)
    _check_rows(real, cfg, _training_images(run, theirs, learner, cfg))
    labels = np.repeat(np.arange(len(counts)), (cfg["augment"]["share"] * counts + 0.5).astype(np.int64))
    if not len(labels):
        return np.zeros((0, *real.shape), column.dtype), labels
    samples, _ = task.draw(len(labels), cfg["seed"], torch.from_numpy(places[labels]))
    images = task.natural(samples) * real.value_range
    return (np.rint(images) if np.issubdtype(column.dtype, np.integer) else images).astype(column.dtype), labels


def _checked_task(learner: Learner, model: str, cfg: dict[str, Any]) -> Any:
    """The task of a conditional generative model. Raises ConfigError for another one."""
    from mlrun.tasks.generation import Generation

    task = getattr(learner, "task", None)
    if not isinstance(task, Generation):
        raise ConfigError(f"{_key(cfg)}: a run of {model}, which draws no images; give a run of {MODELS}")
    if not task.num_classes:
        raise ConfigError(
            f"{_key(cfg)}: {model} does not draw images of a given class; give a run of a conditional model ({MODELS})"
        )
    return task


def _check_shape(learner: Learner, real: LabelledImages, cfg: dict[str, Any]) -> None:
    """Raises ConfigError unless the model read and draws images of the size of the data."""
    shapes = [learner.task.input_shape, *(getattr(feature, "shape", None) for feature in learner.inputs.values())]
    other = next((shape for shape in shapes if shape is None or list(shape) != real.shape), real.shape)
    if other != real.shape:
        size, own = (" x ".join(map(str, shape or ["several sizes"])) for shape in (other, real.shape))
        raise ConfigError(
            f"{_key(cfg)}: that model was trained on images of {size}, and those of {real.data.title} are of {own}; "
            "train it on the same dataset, without dataset.image_size"
        )


def _places(known: Sequence[Any], real: LabelledImages, counts: np.ndarray, cfg: dict[str, Any]) -> np.ndarray:
    """(classes,) the index of each class of the data in the generative model, by its name; -1 for a class without training rows."""
    places = {str(label): place for place, label in enumerate(known)}
    unknown = [label for label, rows in zip(real.classes, counts) if rows and label not in places]
    if unknown:
        raise ConfigError(
            f"{_key(cfg)}: that model does not know the class{'es' * (len(unknown) > 1)} {', '.join(unknown[:5])} of {real.data.title}; "
            f"it knows {', '.join([*places][:10])}{', ...' * (len(places) > 10)}"
        )
    return np.array([places.get(label, -1) for label in real.classes], dtype=np.int64)


def _check_rows(real: LabelledImages, cfg: dict[str, Any], seen: Iterator[tuple[str, list[bytes]]]) -> None:
    """Raises ConfigError if a generative model was trained on images of validation or test. seen: see `_training_images`."""
    digests = {part: real.digests(part) for part in real.data.sizes}
    own = set(digests.pop("train"))
    # an image that also occurs in the training part is known to the classifier anyway
    held_out = {digest for rows in digests.values() for digest in rows} - own
    for run, images in seen:
        leaked, further = (sum(digest in rows for digest in images) for rows in (held_out, set(images) - own))
        if leaked:
            by_way = "" if run == cfg["augment"]["run"] else f", by way of {run},"
            raise ConfigError(
                f"{_key(cfg)}: that model was trained{by_way} on {leaked:,} of the rows on which this run is validated or tested. "
                f"Train it on the training rows of this run: with the same dataset, dataset.split and seed={cfg['seed']}"
            )
        if further:
            notify(
                f"warning: {run} was trained on {further:,} images besides the {len(own):,} real ones of this run, "
                "so a gain may come from them"
            )


def _training_images(
    run: str, theirs: dict[str, Any], learner: Learner, cfg: dict[str, Any]
) -> Iterator[tuple[str, list[bytes]]]:
    """(run, hashes of its training images) of a run and of all runs whose weights or images it started from.

    Args:
        run, theirs, learner: a run, its configuration and its model.
        cfg: of the run that learns from the generated images.

    Raises:
        ConfigError: the training images of one of these are not known.
    """
    try:
        data = open_data(theirs, learner)
    except UserError as error:
        raise ConfigError(f"{_key(cfg)}: the training rows of {run} are not known: {error}") from None
    if learner.recipe.get("digest") not in (None, data.digest):
        raise ConfigError(
            f"{_key(cfg)}: the training rows of {run} are not known, because {data.title} has changed since; train it again"
        )
    images = LabelledImages.of(data)
    if images is not None:
        yield run, images.digests("train")
    sources = Adaptation.from_config(theirs["model"]).sources
    for source in [*sources, theirs["augment"]["run"]] if theirs.get("augment") else sources:
        try:
            earlier = open_run(source, bool(cfg["trust"]))
        except UserError as error:
            raise ConfigError(
                f"{_key(cfg)}: {run} started from {source}, whose training rows are not known: {error}"
            ) from None
        yield from _training_images(source, *earlier, cfg)
