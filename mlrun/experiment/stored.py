"""A finished run, found again: its configuration and its model."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from mlrun.errors import UserError


def open_run(run: str, trust: bool = False) -> tuple[dict, object]:
    """(configuration, learner ready to predict and evaluate) of a run directory or an MLflow run id; trust: as `load_learner`'s. Raises UserError."""
    directory = Path(run)
    if directory.is_dir():
        config, model = directory / "config" / "config.yaml", directory / "model"
    else:
        config, model = _from_mlflow(run)
    if not config.is_file() or not model.is_dir():
        if (directory / "folds.json").is_file():
            raise UserError(
                f"{run}: a cross-validated run has a model per fold: give one of them, such as {directory / 'fold_1'}"
            )
        raise UserError(
            f"{run}: this run was not finished: there is no {'model' if config.is_file() else 'configuration'} in it"
        )
    from mlrun.predictions.learner import load_learner

    return yaml.safe_load(config.read_text(encoding="utf-8")), load_learner(model, trust)


def open_data(cfg: dict, **settings):
    """The prepared dataset of a configuration, with some of its settings replaced."""
    from mlrun.config.instantiate import build

    dataset = {**cfg["dataset"], **settings}
    data = build(dataset, {"seed": cfg["seed"], "data_dir": cfg["data_dir"], "name": dataset["name"]}, "dataset")
    data.prepare()
    return data


def open_part(cfg: dict, learner, part: str | None, overrides: list[str] = ()):
    """(data, part) to measure a stored learner on, fed as it was trained: with its own normalization and order of classes.

    part: of the run's own data, "test" (or what there is of it) by default. overrides: `dataset=…`, `dataset.path=…`; other data
    count as a whole, unless they give a `dataset.split`. Raises UserError where there are no such rows, or other classes.
    """
    if not overrides:
        data = open_data(cfg)
    else:
        data = _other_data(cfg, list(overrides), whole=part is None)
        _as_learned(data, learner, cfg)
    sizes = data.sizes
    chosen = part or next((name for name in ("test", "val", "train") if sizes.get(name)), "test")
    if not sizes.get(chosen):
        there = ", ".join(name for name, size in sizes.items() if size)
        hint = "; a run with dataset.split.train_dev=0.1 has one" if chosen == "train_dev" else ""
        raise UserError(
            f"--part {chosen}: {data.title if hasattr(data, 'title') else data.name} has no such rows (it has {there}){hint}"
        )
    return data, chosen


def _other_data(cfg: dict, overrides: list[str], whole: bool):
    from omegaconf import OmegaConf

    from mlrun.config.compose import compose
    from mlrun.config.explain import explain, quoted

    wrong = next((text for text in overrides if not text.lstrip("+").startswith("dataset")), None)
    if wrong:
        raise UserError(f"{wrong}: only the data can be others here: dataset=NAME, dataset.path=FILE ...")
    if any(text.startswith("dataset=") for text in overrides):
        overrides = [quoted(text) for text in overrides]
        problems = [line for line in explain(overrides) if line.startswith("dataset")]
        if problems:
            raise UserError("\n".join(problems))
        dataset = OmegaConf.to_container(compose([*overrides, f"seed={cfg['seed']}"]).dataset, resolve=True)
    else:
        node = OmegaConf.create({"dataset": cfg["dataset"]})
        for text in overrides:
            key, _, value = text.lstrip("+").partition("=")
            if OmegaConf.select(node, key, default="absent") == "absent" and not text.startswith("+"):
                from mlrun.config.validate import nearest

                raise UserError(
                    f"{key}: dataset {cfg['dataset']['name']} has no such setting{nearest(key, [f'dataset.{name}' for name in cfg['dataset']])}"
                )
            OmegaConf.update(node, key, yaml.safe_load(value), force_add=True)
        dataset = OmegaConf.to_container(node.dataset, resolve=True)
    if whole and not any("dataset.split" in text for text in overrides) and "split" in dataset:
        dataset["split"] = {**dataset["split"], "train": 0, "val": 0, "test": None, "stratify": False}
        dataset["split"].pop("train_dev", None)
    return open_data({**cfg, "dataset": dataset})


def _as_learned(data, learner, cfg: dict) -> None:
    """Gives data the transform and the classes that the learner was trained with."""
    from dataclasses import replace

    import numpy as np

    problem, own = data.spec.problem if not hasattr(data, "content") else data.problem, cfg["dataset"]
    labels = learner.recipe.get("labels") or []
    classifies = bool(labels)
    if not hasattr(data, "content"):
        return
    if classifies != (problem == "classification"):
        raise UserError(
            f"{data.title}: its problem is {problem}, and the model of {own['name']} is for {'classification' if classifies else 'values'}; set dataset.problem"
        )
    if getattr(learner, "transform", None) is not None:
        data.__dict__["transform"] = learner.transform
    expected, found = learner.recipe.get("inputs") or {}, data.inputs or {}
    if expected.get("kind") != found.get("kind") or expected.get("shape") != found.get("shape"):
        raise UserError(
            f"{data.title}: holds rows of another form ({_form(found)}) than the model was trained with ({_form(expected)})"
        )
    if classifies:
        places = {str(label): place for place, label in enumerate(labels)}
        unknown = [label for label in data.content.labels if str(label) not in places]
        if unknown:
            raise UserError(
                f"{data.title}: the model does not know the class{'es' * (len(unknown) > 1)} {', '.join(map(str, unknown[:5]))}; it knows {', '.join(map(str, labels[:10]))}"
            )
        order = np.array([places[str(label)] for label in data.content.labels], dtype=np.int64)
        names = [str(label) for label in labels]
        for place, name in zip(order, data.content.class_names or []):
            names[place] = name
        data._content = replace(data.content, y=order[data.content.y], labels=list(labels), class_names=names)
        data.__dict__.pop("spec", None)


def _form(inputs: dict) -> str:
    return " x ".join(map(str, inputs["shape"])) if inputs.get("shape") else inputs.get("kind") or "unknown"


class Record:
    """A run nested below a stored one, for what is found out about its model later. Does without it where that was never recorded."""

    def __init__(self, run: str, cfg: dict, kind: str, name: str, params: dict):
        from mlrun.tracking.run import NullRun, Run
        from mlrun.tracking.run_directory import read_record

        directory = Path(run)
        parent = read_record(directory).get("run_id") if directory.is_dir() else run
        tags = {"mlrun.kind": kind, "model": cfg["model"]["name"], "dataset": cfg["dataset"]["name"]}
        self.run = Run(cfg["tracking"]["experiment"], name, tags, params, parent=parent) if parent else NullRun()

    def __enter__(self):
        return self.run

    def __exit__(self, kind, error, trace):
        refused = self.run.close("FINISHED" if kind is None else "FAILED")
        if refused:
            print(f"mlrun: not recorded in MLflow: {refused}", file=sys.stderr)


def _from_mlflow(run_id: str) -> tuple[Path, Path]:
    from mlrun.predictions.learner import RECIPE
    from mlrun.tracking.artifacts import stored_config, stored_model
    from mlrun.tracking.store import tracking_uri

    try:
        config, model = stored_config(run_id), stored_model(run_id)
    except OSError as error:
        raise UserError(
            f"{run_id}: neither a run directory nor a finished run at {tracking_uri()}: {' '.join(str(error).split())}"
        ) from None
    recipes = sorted(model.rglob(RECIPE))
    return config, recipes[0].parent if recipes else model / "absent"
