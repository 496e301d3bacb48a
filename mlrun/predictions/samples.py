"""Queries of generative models: samples, or translations of images, as a picture or as arrays."""

from __future__ import annotations

import csv
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.features import Label
from mlrun.data.module import DataModule
from mlrun.errors import UserError
from mlrun.predictions.learner import Learner
from mlrun.predictions.query import Query, seed, writing

FORMATS = (".png", ".npz")
OUTPUT = "samples.png"  # default of --output
MOST_COLUMNS = 16  # a picture has a column per class for at most this many classes


class Samples(Query):
    """`--samples N`: samples of a `Generation` task, which cycle through the classes of `--labels`."""

    name = "samples"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--samples",
            type=int,
            help=f"number of samples to draw, written to --output (default: {OUTPUT}; FILE.npz for arrays)",
        )
        parser.add_argument(
            "--labels",
            help="classes of a conditional model's samples, such as 3,7 (default: all in turn); quote a name with a comma: '\"a, b\",c'",
        )
        parser.add_argument("--seed", type=seed, default=0, help="seed of the noise (default: 0)")

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        import torch

        from mlrun.report.samples import picture

        count, output = checked(arguments)
        task = learner.task
        known = known_classes(learner)
        wanted = _places(known, None if arguments.labels is None else listed(arguments.labels))
        labels = None if wanted is None else torch.tensor(wanted)[torch.arange(count) % len(wanted)]
        samples, labels = task.draw(count, arguments.seed, labels)
        if output.suffix.lower() == ".npz":
            arrays = {"samples": task.natural(samples)}
            if labels is not None:
                arrays["labels"] = np.asarray(known)[labels.cpu().numpy()]
            write_arrays(output, arrays)
        else:
            columns = len(wanted) if wanted is not None and 1 < len(wanted) <= MOST_COLUMNS else None
            drawn = picture(task, open_data(cfg), samples, columns)
            if drawn is None:
                raise UserError(
                    f"--output {output}: these samples are neither images nor points; write them to FILE.npz"
                )
            write_picture(output, drawn)
        print(f"{output}: {count} samples")
        return 0


class Translations(Query):
    """`--samples N`: images of the first domain and their translations by a `CycleGAN` task."""

    name = "samples"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--samples",
            type=int,
            help=f"number of images to translate, written to --output (default: {OUTPUT}; FILE.npz for arrays)",
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        from mlrun.report.samples import grid

        count, output = checked(arguments)
        data: Any = open_data(cfg)
        part = next((part for part in ("test", "val", "train") if data.sizes[part]), "train")
        images, translations = learner.task.translate(data.domains(part)[0].x[:count])
        if output.suffix.lower() == ".npz":
            write_arrays(output, {"images": images, "translations": translations})
        else:
            write_picture(output, grid(np.concatenate([images, translations]), columns=len(images)))
        print(f"{output}: {len(images)} images of {part} and their translations")
        return 0


def checked(arguments: Namespace) -> tuple[int, Path]:
    """Number of samples and file to write. Raises UserError for values that cannot be used."""
    output = Path(arguments.output or OUTPUT)
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output {output}: give a file ending in {' or '.join(FORMATS)}")
    if arguments.samples < 1:
        raise UserError(f"--samples {arguments.samples}: give at least 1")
    return arguments.samples, output


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Writes named arrays as an .npz file."""
    with writing("--output", path):
        np.savez_compressed(path, **arrays)


def write_picture(path: Path, picture: Any) -> None:
    """Saves a PIL image."""
    with writing("--output", path):
        picture.save(path)


def listed(text: str) -> list[str]:
    """The names in a list with commas, where quotes hold together a name that has some itself. Raises UserError for an empty name."""
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not all(names) or not names:
        raise UserError(f"--labels {text!r}: a name is empty; give classes such as 3,7")
    return names


def known_classes(learner: Learner) -> list[Any]:
    """The classes of a conditional model as the data name them, or their indices if the data have other classes; empty for other models."""
    count = learner.task.num_classes
    label = next((feature for feature in learner.targets.values() if isinstance(feature, Label)), None)
    return label.classes if label is not None and len(label.classes) == count else list(range(count))


def _places(classes: list[Any], wanted: list[str] | None) -> list[int] | None:
    """Indices of the requested classes, or of all classes if none are requested; None for an unconditional model."""
    if not classes:
        if wanted is not None:
            raise UserError("--labels: this model does not know classes; its samples come from the whole distribution")
        return None
    known = [str(label) for label in classes]
    unknown = [label for label in wanted or () if label not in known]
    if unknown:
        raise UserError(
            f"--labels {','.join(wanted or ())}: there is no class {unknown[0]}; the classes are {', '.join(known)}"
        )
    return [known.index(label) for label in wanted] if wanted else list(range(len(known)))
