"""The classifier by which images of generative models are evaluated: trained by `mlrun` on the same data, in an MLflow run.

It is trained once per dataset in a working directory (`outputs/reference_classifiers/…`). All runs there share it, whatever their seed, so that
distances in its features are comparable between them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlrun.config.identity import identity
from mlrun.data.module import DataModule
from mlrun.predictions.learner import Learner, load_learner

if TYPE_CHECKING:
    from mlrun.experiment.result import Result
    from mlrun.tracking.run import Run

log = logging.getLogger("mlrun")

FOLDER, RECORD = Path("outputs") / "reference_classifiers", "classifier.json"
EPOCHS, FEW_EPOCHS, MANY_ROWS = 10, 3, 20_000  # few epochs for a training split of many rows
BATCH = 1000
Train = Callable[..., "Result"]  # `mlrun.experiment.run.run`


class ReferenceClassifier:
    """A trained network with the layers `body` and `head`.

    Args:
        learner: of a finished run.
        run: its MLflow id.
        accuracy: on the test split.
    """

    def __init__(self, learner: Learner, run: str, accuracy: float):
        self.learner, self.run, self.accuracy = learner, run, accuracy

    def classify(self, pixels: Any) -> tuple[np.ndarray, np.ndarray]:
        """Images (rows, channels, height, width) from 0 to 1 -> inputs of `head` (rows, features), and predicted classes (rows,)."""
        import torch

        preprocessor: Any = self.learner.preprocessor
        network, scaling = self.learner.task.network, preprocessor.encoders["image"].scaling
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
    """A function that returns the reference classifier of a dataset and trains it if necessary; None if the dataset has no classes.

    Args:
        cfg, data: of the run that is evaluated.
        train: `mlrun.experiment.run.run`.
        tracked: the run that is evaluated, to be tagged with the classifier's run.
    """
    dataset = data.labelled(cfg["dataset"])
    if dataset is None:
        return None

    @cache
    def give() -> ReferenceClassifier:
        found = reference_classifier({**cfg, "dataset": dataset}, data.sizes["train"], train)
        log.info("reference classifier: run %s, test accuracy %.4f", found.run, found.accuracy)
        if tracked is not None:
            tracked.tags({"reference_classifier": found.run})
        return found

    return give


def reference_classifier(cfg: dict[str, Any], rows: int, train: Train) -> ReferenceClassifier:
    """The classifier of a configuration's dataset, trained if it does not exist yet. rows: size of the training split."""
    from filelock import FileLock

    own = configuration(cfg, rows)
    directory = (FOLDER / identity(own)).absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):  # other runs of a sweep wait while one trains it
        if not (directory / RECORD).is_file():
            print(
                f"mlrun: training a reference classifier of {cfg['dataset']['name']} to evaluate samples",
                file=sys.stderr,
            )
            _train(own, directory, train)
    record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    return ReferenceClassifier(load_learner(directory / "model"), record["run"], record["accuracy"])


def configuration(cfg: dict[str, Any], rows: int) -> dict[str, Any]:
    """The configuration of the classifier's run: a small convolutional network on the same dataset, independent of the evaluated run's seed."""
    from omegaconf import OmegaConf, open_dict

    from mlrun.config.compose import compose

    epochs = EPOCHS if rows < MANY_ROWS else FEW_EPOCHS
    own = compose(["model=cnn", "model.network.hidden=[64]", f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu"])
    dataset = {**cfg["dataset"], "normalize": "standardize", "batch_size": 64, "augment": []}
    if "split" in dataset:
        dataset["split"] = {**dataset["split"], "seed": 0}
    with open_dict(own):
        own.dataset = OmegaConf.create(dataset)
        own.seed, own.data_dir, own.tracking = 0, cfg["data_dir"], cfg["tracking"] | {"run_name": None}
    return cast(dict[str, Any], OmegaConf.to_container(own, resolve=True))


def _train(own: dict[str, Any], directory: Path, train: Train) -> None:
    import torch
    from omegaconf import OmegaConf

    from mlrun.report import silent

    overrides = ["model=cnn", f"dataset={own['dataset']['name']}"]
    with torch.inference_mode(False):  # evaluators run in inference mode
        result = train(OmegaConf.create(own), directory, overrides, report=silent, kind="reference classifier")
    record = {"run": result.run_id, "accuracy": result.metrics["test/accuracy"]}
    (directory / RECORD).write_text(json.dumps(record), encoding="utf-8")
