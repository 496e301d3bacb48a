"""Opens a finished run: its configuration, data and model."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import yaml

from mlrun.config.catalogue import SAFE_LOADER
from mlrun.config.passwords import masked
from mlrun.config.schema import key_problem
from mlrun.config.validate import did_you_mean
from mlrun.data.features import Feature, Label, Labels, Tags
from mlrun.data.inputs import same_form
from mlrun.data.module import DataModule
from mlrun.data.readers.trust import check_code, has_signature, has_signature_line
from mlrun.data.row_data import RowData
from mlrun.errors import UserError
from mlrun.experiment.state import last_run
from mlrun.tracking.run_directory import RECORD, read_record

if TYPE_CHECKING:
    from mlrun.predictions.learner import Learner
    from mlrun.tracking.run import NullRun, Run


def open_run(run: str, trust: bool = False) -> tuple[dict[str, Any], Learner]:
    """Opens a finished run.

    Args:
        run: its directory or MLflow run id.
        trust: see `load_learner`.

    Returns:
        Its configuration, and its learner, ready to predict and evaluate.

    Raises:
        UserError: the run does not exist, did not finish, or may not be loaded.
    """
    directory = Path(run)
    if directory.is_dir():
        config, model = directory / "config" / "config.yaml", directory / "model"
    else:
        config, model = _from_mlflow(run)
    if not config.is_file() or not model.is_dir():
        if (directory / "folds.json").is_file():
            raise UserError(
                f"{run}: a cross-validated run has a model per fold; give the directory of a fold, such as {directory / 'fold_1'}"
            )
        if directory.is_dir() and not (config.is_file() or read_record(directory)):
            below = last_run(directory, finished=True)
            raise UserError(
                f"{run} is not the directory of a run: it has no config/config.yaml{did_you_mean(str(below) if below else None)}"
            )
        more = f"; mlrun resume {shlex.quote(run)} finishes it" if config.is_file() and directory.is_dir() else ""
        raise UserError(
            f"{run}: this run did not finish: it has no {'model' if config.is_file() else 'configuration'}{more}"
        )
    from mlrun.predictions.learner import load_learner

    return read_config(config, trust), load_learner(model, trust)


def run_id_of(run: str) -> str | None:
    """The MLflow id of a run that is given by its directory or by this id; None if MLflow never gave it one."""
    return read_record(run).get("run_id") if os.path.isdir(run) else run


def changed_files(run: str) -> list[Path]:
    """The files in a run's directory that this user's `mlrun` has not written as they are; none if it is no such directory."""
    if not os.path.isdir(run):  # unlike `Path`, it takes any text
        return []
    config, *containers = (Path(run, name) for name in ("config/config.yaml", "model/recipe.json", RECORD))
    changed = [config] if config.is_file() and not has_signature_line(config.read_text(errors="replace")) else []
    for path in filter(Path.is_file, containers):
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or not has_signature(content):
            changed.append(path)
    return changed


def read_config(path: Path, trust: bool = False) -> dict[str, Any]:
    """The stored configuration of a run. Consent that was given when the run was started is not stored consent: `trust` replaces it.

    Raises:
        UserError: the file is damaged, or somebody else wrote it, it would run code of its choice, and `trust` is not given.
    """
    cfg = _read_yaml(path)
    groups = ("model", "dataset", "trainer", "tracking")
    if not isinstance(cfg, dict) or not all(isinstance(cfg.get(group), dict) for group in groups):
        raise UserError(f"{path} is damaged: it is not the configuration of a run")
    for key in ("seed", "data_dir"):
        if key not in cfg or (problem := key_problem(key, cfg[key])):
            raise UserError(f"{path} is damaged: {key} {problem if key in cfg else 'is missing'}")
    if not all(isinstance(cfg[group].get("name"), str) for group in ("model", "dataset")):
        raise UserError(f"{path} is damaged: it does not name its model and its dataset")
    check_code(cfg, path, has_signature_line(path.read_text(encoding="utf-8")), trust)
    return {**cfg, "trust": trust}


def read_overrides(path: Path) -> list[str]:
    """The stored command line of a run. Raises UserError if the file is damaged."""
    overrides = _read_yaml(path) or []
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise UserError(f"{path} is damaged: it is not a list of overrides")
    return overrides


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=SAFE_LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None


def open_data(cfg: dict[str, Any], learner: Learner | None = None, **settings: Any) -> DataModule:
    """The prepared dataset of a configuration, with some of its settings replaced, its columns read as those of a learner."""
    from mlrun.config.instantiate import build

    dataset = {**cfg["dataset"], **settings}
    data = build(dataset, {"seed": cfg["seed"], "data_dir": cfg["data_dir"], "name": dataset["name"]}, "dataset")
    if learner is not None:
        data.follow(learner.inputs, learner.targets)
    data.prepare()
    return data


def open_part(
    cfg: dict[str, Any], learner: Learner, part: str | None, overrides: Sequence[str] = ()
) -> tuple[DataModule, str]:
    """The data on which a stored learner is evaluated, with the classes in the order in which it was trained.

    Args:
        cfg, learner: of the run.
        part: None: "test", or else the first of "val" and "train" that has rows.
        overrides: `dataset=…`, `dataset.path=…` for other data. All their rows are evaluated, unless a part or `dataset.split` is given.

    Returns:
        The data, and the part to evaluate.

    Raises:
        UserError: the part has no rows, or the model cannot read the data.
    """
    if not overrides:
        data = open_data(cfg, learner)
    else:
        data = _other_data(cfg, list(overrides), part is None, learner)
        _as_learned(data, learner, cfg)
    sizes = data.sizes
    chosen = part or next((name for name in ("test", "val", "train") if sizes.get(name)), "test")
    if not sizes.get(chosen):
        there = ", ".join(name for name, size in sizes.items() if size)
        hint = "; a run with dataset.split.train_dev=0.1 has one" if chosen == "train_dev" else ""
        raise UserError(f"--part {chosen}: {data.title} has no such rows (it has {there}){hint}")
    return data, chosen


def _other_data(cfg: dict[str, Any], overrides: list[str], whole: bool, learner: Learner) -> DataModule:
    from omegaconf import OmegaConf

    from mlrun.config.compose import compose
    from mlrun.config.explain import explain, quoted

    wrong = next((text for text in overrides if not text.lstrip("+").startswith("dataset")), None)
    if wrong:
        raise UserError(f"{wrong}: only the data can be replaced here: dataset=NAME, dataset.path=FILE ...")
    dataset: Any
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
    return open_data({**cfg, "dataset": dataset}, learner)


def _as_learned(data: DataModule, learner: Learner, cfg: dict[str, Any]) -> None:
    """Puts the classes of other data into the learner's order. Raises UserError if the learner cannot read the data."""
    if not isinstance(data, RowData):
        return
    content, target = data.content, data.target
    learned = next(iter(learner.targets.values()), None)
    if learned is not None and target is not None and learned.kind != target.kind:
        raise UserError(
            f"{data.title}: its problem is {data.problem}, and the model of {cfg['dataset']['name']} predicts a {learned.kind}; "
            f"set dataset.problem"
        )
    inputs = {name: content.features[name] for name in content.features if name not in content.targets}
    if not same_form(learner.inputs, inputs):
        theirs, own = (", ".join(map(_form, features.values())) for features in (inputs, learner.inputs))
        raise UserError(
            f"{data.title}: its rows have another form ({theirs}) than those that the model was trained on ({own})"
        )
    if isinstance(learned, (Label, Labels, Tags)):
        if not learner.open_set:
            _sort_classes(data, learned)
        return
    known, own = (getattr(feature, "classes", None) for feature in (learned, target))
    if known != own:
        raise UserError(
            f"{data.title}: its classes are {', '.join(own or [])}, and the model knows {', '.join(known or [])} in this order; "
            "set dataset.classes"
        )


def _sort_classes(data: RowData, learned: Label | Labels | Tags) -> None:
    """Replaces the class indices by the model's. Raises UserError for classes that the model does not know."""
    content, target = data.content, cast("Label | Labels | Tags", data.target)
    places = {str(label): place for place, label in enumerate(learned.classes)}
    unknown = [label for label in target.classes if str(label) not in places]
    if unknown:
        raise UserError(
            f"{data.title}: the model does not know the class{'es' * (len(unknown) > 1)} {', '.join(map(str, unknown[:5]))}; "
            f"it knows {', '.join(map(str, learned.classes[:10]))}"
        )
    order = np.array([places[str(label)] for label in target.classes], dtype=np.int64)
    name = content.targets[0]
    column = target.renumbered(content.columns[name], order, len(learned.classes))
    feature: Feature = learned
    if isinstance(learned, Label) and isinstance(target, Label):
        names = list(learned.names)
        for place, own in zip(order, target.names):
            names[place] = own
        feature = replace(learned, names=names, column=target.column)
    data._content = replace(
        content, columns={**content.columns, name: column}, features={**content.features, name: feature}
    )


def _form(feature: Feature) -> str:
    shape = getattr(feature, "shape", None)
    return " x ".join(map(str, shape)) if shape else feature.kind


class Record:
    """An MLflow run nested below a stored run, for a later analysis of its model; records nothing if MLflow does not have the stored run."""

    def __init__(self, run: str, cfg: dict[str, Any], kind: str, name: str, params: dict[str, Any]):
        from mlrun.tracking.directions import KIND
        from mlrun.tracking.read import store_of
        from mlrun.tracking.run import NullRun, Run
        from mlrun.tracking.store import tracking_uri

        parent = run_id_of(run)
        tags = {KIND: kind, "model": cfg["model"]["name"], "dataset": cfg["dataset"]["name"]}
        tags["mlflow.note.content"] = f"`mlrun {name.split()[0]} {run}`: an analysis of the model of the run above."
        uri = store_of(run, parent) if parent and os.path.isdir(run) else None
        if parent and os.path.isdir(run) and uri is None:
            print(
                f"mlrun: not recorded in MLflow: {masked(tracking_uri())} does not have the run of {run}",
                file=sys.stderr,
            )
            parent = None
        self.run = (
            Run(cfg["tracking"]["experiment"], name, tags, params, parent=parent, uri=uri) if parent else NullRun()
        )

    def __enter__(self) -> Run | NullRun:
        return self.run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        refused = self.run.close("FINISHED" if kind is None else "FAILED")
        if refused:
            print(f"mlrun: not recorded in MLflow: {refused}", file=sys.stderr)


def _meant(run: str) -> str:
    """What else a user may have meant by a run that does not exist; empty if that is not known."""
    if os.path.isdir(beside := os.path.join("outputs", run)):
        return did_you_mean(beside)
    return "; an id has 32 characters" if re.fullmatch("[0-9a-f]{4,31}", run) else ""


def _from_mlflow(run_id: str) -> tuple[Path, Path]:
    from mlrun.predictions.learner import RECIPE
    from mlrun.tracking.artifacts import stored_config, stored_model
    from mlrun.tracking.store import sqlite_file, tracking_uri

    database = sqlite_file(tracking_uri())
    if database is not None and not database.is_file():  # MLflow would create it
        raise UserError(
            f"{run_id}: neither a run directory nor a finished run: {database} does not exist" + _meant(run_id)
        )
    try:
        config, model = stored_config(run_id), stored_model(run_id)
    except OSError as error:
        raise UserError(
            f"{run_id}: neither a run directory nor a finished run at {masked(tracking_uri())}: {' '.join(str(error).split())}"
            + _meant(run_id)
        ) from None
    recipes = sorted(model.rglob(RECIPE))
    return config, recipes[0].parent if recipes else model / "absent"
