"""Samples of a stored generative model, written as a picture or as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlrun.errors import UserError

FORMATS = (".png", ".npz")


def write_samples(cfg: dict, learner, count: int, output: Path, labels: list[str] | None = None, seed: int = 0) -> str:
    """Draws `count` samples, of these classes in turn (None: of all), and writes a grid (.png) or `samples` and `labels` (.npz).

    Of a translator between two domains: `count` images of each part's first domain and their translations, one row below the other.
    Returns what was written. Raises UserError for a model that makes nothing, an unknown class or format.
    """
    from mlrun.experiment.stored import open_data
    from mlrun.tasks.generation import Generation

    task = getattr(learner, "task", None)
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output {output}: give a file ending in {' or '.join(FORMATS)}")
    if count < 1:
        raise UserError(f"--samples {count}: give at least 1")
    if hasattr(task, "translate"):
        if labels:
            raise UserError("--labels: this model translates images and takes no classes")
        data = open_data(cfg)
        part = next((part for part in ("test", "val", "train") if data.sizes[part]), "train")
        made = task.translate(data.domains(part)[0].x[:count], learner.transform)
        arrays = dict(zip(("images", "translations"), made))
        picture, told = None, f"{len(made[0])} images of {part} and their translations"
    elif isinstance(task, Generation) and type(task).sample is not Generation.sample:  # an autoencoder has none
        wanted = _classes(learner, task.num_classes, labels)
        asked = None if wanted is None else _tensor(wanted, count)
        samples, classes = task.draw(count, seed, asked)
        data = open_data(cfg)
        arrays = {"samples": task.natural(samples, data)}
        if classes is not None:
            arrays["labels"] = (
                np.asarray(learner.labels)[classes.cpu().numpy()] if len(learner.labels) else classes.cpu().numpy()
            )
        columns = len(wanted) if wanted is not None and 1 < len(wanted) <= 16 else None
        picture, told = (lambda: task.picture(samples, data, columns)), f"{count} samples"
    else:
        raise UserError("--samples: this run's model makes no data; what it answers for rows: mlrun predict RUN FILE")
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() == ".npz":
        np.savez_compressed(output, **arrays)
    elif picture is not None:
        picture().save(output)
    else:
        from mlrun.report import samples as report

        report.grid(np.concatenate(made), columns=len(made[0])).save(output)
    return told


def _classes(learner, count: int, labels: list[str] | None) -> list[int] | None:
    """Class indices of labels as the user writes them."""
    if not count:
        if labels:
            raise UserError("--labels: this model does not know classes; it draws from all data alike")
        return None
    known = (
        [str(label) for label in learner.labels]
        if len(learner.labels) == count
        else [str(place) for place in range(count)]
    )
    unknown = [label for label in labels or () if label not in known]
    if unknown:
        raise UserError(
            f"--labels {','.join(labels)}: there is no class {unknown[0]}; the classes are {', '.join(known)}"
        )
    return [known.index(label) for label in labels] if labels else list(range(count))


def _tensor(classes: list[int], count: int):
    import torch

    return torch.tensor(classes)[torch.arange(count) % len(classes)]
