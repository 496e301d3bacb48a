"""The classifier that images of generative models are measured by: trained by `mlrun` on the same data, an MLflow run like any other.

It is trained once for a data set in a working directory (`outputs/judges/…`) and shared by all runs there, whatever their seed: distances
in its features are comparable between them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mlrun.config.identity import identity

FOLDER = Path("outputs") / "judges"
EPOCHS, EPOCHS_OF_MANY, MANY = 10, 3, 20_000  # of training rows
BATCH = 1000


class Judge:
    """learner: a finished run's network with the layers `body` and `head`; run: its MLflow id; accuracy: on the test part."""

    def __init__(self, learner, run: str, accuracy: float):
        self.learner, self.run, self.accuracy = learner, run, accuracy

    def judge(self, pixels) -> tuple:
        """Images (rows, channels, height, width) from 0 to 1 -> arrays of what `head` is fed (rows, features), and of classes (rows,)."""
        import numpy as np
        import torch

        network, scaling = self.learner.task.network, self.learner.transform
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


def judge_of(cfg: dict, rows: int) -> Judge:
    """The judge of a configuration's dataset with so many training rows; trained now if there is none here yet."""
    from filelock import FileLock

    from mlrun.predictions.learner import load_learner

    own = configuration(cfg, rows)
    directory = (FOLDER / identity(own)).absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):  # runs of a sweep wait for the one that trains it
        if not (directory / "judge.json").is_file():
            print(f"mlrun: training a classifier of {cfg['dataset']['name']} to measure samples by", file=sys.stderr)
            _train(own, directory)
    record = json.loads((directory / "judge.json").read_text(encoding="utf-8"))
    return Judge(load_learner(directory / "model"), record["run"], record["accuracy"])


def configuration(cfg: dict, rows: int) -> dict:
    """Of the judge's run: a small convolutional network on the same dataset, the same whatever the seed of the measured run."""
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf, open_dict

    from mlrun.config.compose import compose

    hydra, epochs = GlobalHydra.instance(), EPOCHS if rows < MANY else EPOCHS_OF_MANY
    before = hydra.hydra
    try:
        own = compose(
            ["model=cnn", "model.network.hidden=[64]", f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu"]
        )
    finally:
        hydra.hydra = before  # this may be in the middle of Hydra's own run
    dataset = {**cfg["dataset"], "normalize": "standardize", "batch_size": 64, "augment": []}
    if "split" in dataset:
        dataset["split"] = {**dataset["split"], "seed": 0}
    with open_dict(own):
        own.dataset = OmegaConf.create(dataset)
        own.seed, own.data_dir, own.tracking = 0, cfg["data_dir"], cfg["tracking"] | {"run_name": None}
    return OmegaConf.to_container(own, resolve=True)


def _train(own: dict, directory: Path) -> None:
    from omegaconf import OmegaConf

    from mlrun.experiment.run import run
    from mlrun.report import silent

    result = run(OmegaConf.create(own), directory, ["model=cnn", f"dataset={own['dataset']['name']}"], report=silent)
    record = {"run": result.run_id, "accuracy": result.metrics["test/accuracy"]}
    (directory / "judge.json").write_text(json.dumps(record), encoding="utf-8")


def appoint(learner, cfg: dict, data) -> Judge | None:
    """Gives a generative model of labelled images its judge; None for every other."""
    task = getattr(learner, "task", None)
    wanted = getattr(task, "wants_judge", False) and task.makes_images
    dataset = data.labelled(cfg["dataset"]) if wanted else None
    if dataset is None:
        return None
    task.judge = judge_of({**cfg, "dataset": dataset}, data.sizes["train"])
    return task.judge
