"""The classifier that images of generative models are measured by: trained by `mlrun` on the same data, an MLflow run like any other.

It is trained once for a dataset in a working directory (`outputs/reference_classifiers/…`) and shared by all runs there, whatever their seed:
distances in its features are comparable between them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.config.identity import identity
from mlrun.data.module import DataModule
from mlrun.predictions.learner import load_learner

if TYPE_CHECKING:
    from mlrun.experiment.result import Result
    from mlrun.tracking.run import Run
    from mlrun.training.learner import NetworkLearner

log = logging.getLogger("mlrun")

FOLDER, RECORD = Path("outputs") / "reference_classifiers", "classifier.json"
EPOCHS, EPOCHS_OF_MANY, MANY = 10, 3, 20_000  # of training rows
BATCH = 1000
Train = Callable[..., "Result"]  # `mlrun.experiment.run.run`


class ReferenceClassifier:
    """A trained network with the layers `body` and `head`.

    Args:
        learner: of a finished run. run: its MLflow id. accuracy: on the test part.
    """

    def __init__(self, learner: NetworkLearner, run: str, accuracy: float):
        self.learner, self.run, self.accuracy = learner, run, accuracy

    def classify(self, pixels: Any) -> tuple[np.ndarray, np.ndarray]:
        """Images (rows, channels, height, width) from 0 to 1 -> what `head` is fed (rows, features), and predicted classes (rows,)."""
        import torch

        network, scaling = self.learner.task.network, self.learner.preprocessor.encoders["image"].scaling
        network.eval()
        shift, scale = (values.reshape(-1, 1, 1) for values in (scaling.shift, scaling.scale))
        seen, scores = [], []
        handle = network.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].numpy()))
        try:
            with torch.inference_mode():
                for start in range(0, len(pixels), BATCH):
                    x = (np.asarray(pixels[start : start + BATCH]) * scaling.value_range - shift) / scale
                    scores.append(network(torch.from_numpy(x.astype(np.float32))).numpy())
        finally:
            handle.remove()
        return np.concatenate(seen), np.concatenate(scores).argmax(axis=1)


def reference_for(
    cfg: dict[str, Any], data: DataModule, train: Train, tracked: Run | None = None
) -> Callable[[], ReferenceClassifier] | None:
    """A function that gives the reference classifier of a dataset, trained when an evaluator first asks for it; None where there are no classes.

    train: `mlrun.experiment.run.run`. tracked: the run that it measures, which is tagged with the classifier's run.
    """
    dataset = data.labelled(cfg["dataset"])
    if dataset is None:
        return None

    @cache
    def give() -> ReferenceClassifier:
        found = reference_classifier({**cfg, "dataset": dataset}, data.sizes["train"], train)
        log.info("measured by the classifier of run %s, test accuracy %.4f", found.run, found.accuracy)
        if tracked is not None:
            tracked.tags({"reference_classifier": found.run})
        return found

    return give


def reference_classifier(cfg: dict[str, Any], rows: int, train: Train) -> ReferenceClassifier:
    """The classifier of a configuration's dataset with so many training rows; trained now if there is none here yet."""
    from filelock import FileLock

    own = configuration(cfg, rows)
    directory = (FOLDER / identity(own)).absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):  # runs of a sweep wait for the one that trains it
        if not (directory / RECORD).is_file():
            print(f"mlrun: training a classifier of {cfg['dataset']['name']} to measure samples by", file=sys.stderr)
            _train(own, directory, train)
    record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    return ReferenceClassifier(load_learner(directory / "model"), record["run"], record["accuracy"])


def configuration(cfg: dict[str, Any], rows: int) -> dict[str, Any]:
    """Of the classifier's run: a small convolutional network on the same dataset, the same whatever the seed of the measured run."""
    from omegaconf import OmegaConf, open_dict

    from mlrun.config.compose import compose

    epochs = EPOCHS if rows < MANY else EPOCHS_OF_MANY
    own = compose(["model=cnn", "model.network.hidden=[64]", f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu"])
    dataset = {**cfg["dataset"], "normalize": "standardize", "batch_size": 64, "augment": []}
    if "split" in dataset:
        dataset["split"] = {**dataset["split"], "seed": 0}
    with open_dict(own):
        own.dataset = OmegaConf.create(dataset)
        own.seed, own.data_dir, own.tracking = 0, cfg["data_dir"], cfg["tracking"] | {"run_name": None}
    return OmegaConf.to_container(own, resolve=True)


def _train(own: dict[str, Any], directory: Path, train: Train) -> None:
    import torch
    from omegaconf import OmegaConf

    from mlrun.report import silent

    overrides = ["model=cnn", f"dataset={own['dataset']['name']}"]
    with torch.inference_mode(False):  # an evaluator asks for it in the middle of a measurement
        result = train(OmegaConf.create(own), directory, overrides, report=silent)
    record = {"run": result.run_id, "accuracy": result.metrics["test/accuracy"]}
    (directory / RECORD).write_text(json.dumps(record), encoding="utf-8")
