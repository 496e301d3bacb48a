"""`trainer=kfold`: cross-validation with scikit-learn's splitters. Each fold is a run nested below the whole."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from mlrun.config.identity import is_network, parameters
from mlrun.data.features import Feature, Label
from mlrun.data.module import DataModule
from mlrun.data.predictions import Predictions
from mlrun.data.row_data import RowData
from mlrun.data.splits import split_rows
from mlrun.data.spreadsheet import safe_cell
from mlrun.errors import ConfigError, DataError
from mlrun.evaluation.classification import recalled_classes
from mlrun.evaluation.evaluator import Subject
from mlrun.experiment.description import describe
from mlrun.experiment.result import Result, draw, log_model, seed_everything
from mlrun.experiment.state import RunState, newest_checkpoint
from mlrun.predictions.learner import Evaluation, Learner, load_learner, make_learner
from mlrun.report.notify import notify
from mlrun.report.view import title
from mlrun.tracking.directions import KIND, as_tag
from mlrun.tracking.recorder import KEY
from mlrun.tracking.run import Run
from mlrun.tracking.run_directory import locked, read_record

log = logging.getLogger("mlrun")

ALL = "all"  # value of trainer.folds for leave-one-out


@dataclass
class Fold:
    """The result of one fold. rows: indices of the held-out rows in the data."""

    repeat: int
    number: int
    rows: np.ndarray
    evaluation: Evaluation


def cross_validate(
    cfg: dict[str, Any], data: DataModule, result: Result, tracked: Run, report: Any, overrides: Sequence[str] = ()
) -> None:
    """Trains and tests a learner per fold. Puts the means ("cv/…") and standard deviations ("cv_std/…", numpy's) over folds into `result.metrics`.

    Folds of a single row are evaluated together, because most metrics are meaningless for one row. A resumed run only evaluates the folds
    that an earlier attempt finished, and resumes an unfinished fold from its checkpoint. All rows of the split are folded, except those of a
    test set that comes with the dataset.
    """
    settings = cfg["trainer"]
    if settings["devices"] not in (1, "auto", "1"):
        raise ConfigError(f"trainer.devices={settings['devices']}: cross-validation trains fold by fold on one device")
    if settings.get("num_nodes", 1) > 1:
        raise ConfigError(f"trainer.num_nodes={settings['num_nodes']}: cross-validation trains on one machine")
    rows, classes = _pool(data)
    groups = _groups(data, rows, settings.get("group"))
    count = len(rows) if settings["folds"] == ALL else settings["folds"]
    plan = list(folds(len(rows), count, settings.get("repeats") or 1, _seed(cfg, data), classes, groups))
    sizes = {_division(settings): len(rows)}
    report.config_summary(
        cfg,
        overrides,
        sizes=sizes,
        problem=data.problem,
        directory=result.directory,
        dataset=data.display_name,
        about=data.summary,
    )
    result.began = True
    done: list[Fold] = []
    seconds: dict[str, float] = {}
    for number, (train, held_out) in enumerate(plan, start=1):
        parts = {"train": rows[train], "test": rows[held_out]}
        if is_network(cfg["model"]):
            own = (None if values is None else values[train] for values in (classes, groups))
            parts.update(_validation(cfg, data, rows[train], *own))
        directory = result.directory / f"fold_{number}"
        directory.mkdir(exist_ok=True)
        fold_data = data.with_parts(parts)
        assert isinstance(fold_data, RowData)  # see `_pool`
        with locked(directory):
            about = f"Fold {number} of {len(plan)}: tested on {len(held_out):,} rows that it was not trained on."
            learner, evaluation = _fold(
                cfg, fold_data, result, tracked, report, directory, number, seconds, overrides, about
            )
        repeat, place = divmod(number - 1, count)
        done.append(Fold(repeat + 1, place + 1, fold_data.rows("test"), evaluation))
        tracked.metrics({f"fold/{name}": value for name, value in evaluation.metrics.items()}, step=number)
        result.parameters = learner.training.parameters
        watched = learner.monitor.rpartition("/")[2]
        report.fold(number, len(plan), watched, evaluation.metrics.get(watched))
    result.seconds.update(seconds)
    result.monitor, result.mode = f"cv/{learner.monitor.rpartition('/')[2]}", learner.mode
    tracked.tags(as_tag(learner.directions))
    result.classes = recalled_classes(data.target)
    result.metrics.update(_summary(learner, data, done))
    with result.phase("report"):
        _write_out_of_fold(result.directory / "out_of_fold.csv", done, data)
        measured = [fold.evaluation.metrics for fold in done]
        (result.directory / "folds.json").write_text(json.dumps(measured, indent=2), encoding="utf-8")
        for name in ("out_of_fold.csv", "folds.json"):
            if (result.directory / name).is_file():
                tracked.artifact(result.directory / name)
        _draw(learner, data, done, result.directory / "figures", tracked)


def folds(
    count: int,
    number: int,
    repeats: int,
    seed: int,
    classes: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (training indices, held-out indices) of 0..count-1 for `repeats` times `number` folds.

    With groups the splitter is StratifiedGroupKFold, or GroupKFold without classes. Otherwise it is LeaveOneOut for as many folds as rows,
    else (Repeated)StratifiedKFold with classes and (Repeated)KFold without. They shuffle, with `seed` as random_state (seed + repeat for groups).

    Args:
        count: rows.
        number: folds.
        repeats: repetitions with different folds.
        seed: of the order.
        classes, groups: (count,) integers, if there are any.

    Raises:
        DataError: the rows cannot be folded in this way.
    """
    from sklearn import model_selection as select

    if number > count:
        raise DataError(f"trainer.folds={number}: there are only {count} rows")
    if number < 2:
        raise DataError(f"trainer.folds: {count} row cannot be folded")
    y = np.zeros(count) if classes is None else classes
    if groups is not None:
        present = len(np.unique(groups))
        if present < number:
            raise DataError(
                f"trainer.folds={number}: there are only {present} groups (trainer.group, classes, or rows that belong together)"
            )
        kind = select.GroupKFold if classes is None else select.StratifiedGroupKFold
        for repeat in range(repeats):
            yield from kind(number, shuffle=True, random_state=seed + repeat).split(y, y, groups)
        return
    if number == count:
        if repeats > 1:
            raise DataError(f"trainer.repeats={repeats}: leave-one-out gives the same folds each time")
        yield from select.LeaveOneOut().split(y)
        return
    if classes is not None:
        least = int(np.bincount(classes).min(initial=count, where=np.bincount(classes) > 0))
        if least < number:
            raise DataError(
                f"trainer.folds={number}: the smallest class has {least} row{'s' * (least != 1)}; take fewer folds, as many as rows "
                f"(trainer.folds=all), or set dataset.split.stratify=false"
            )
    if repeats > 1:
        kind = select.RepeatedKFold if classes is None else select.RepeatedStratifiedKFold
        yield from kind(n_splits=number, n_repeats=repeats, random_state=seed).split(y, y)
        return
    kind = select.KFold if classes is None else select.StratifiedKFold
    yield from kind(number, shuffle=True, random_state=seed).split(y, y)


def _division(settings: dict[str, Any]) -> str:
    """A description of the folds for the terminal."""
    group, repeats, number = settings.get("group"), settings.get("repeats") or 1, settings["folds"]
    count = "as many folds" if number == ALL else f"{number} folds"
    return f"rows in {count}{f' by {group}' if group else ''}{f', {repeats} times' * (repeats > 1)}"


def _pool(data: DataModule) -> tuple[np.ndarray, np.ndarray | None]:
    """(indices of the rows to fold, in order, and their classes or None)."""
    if not isinstance(data, RowData):
        raise ConfigError(f"trainer=kfold: {data.name} has no rows that could be folded")
    rows = data.pool
    return rows, None if data.classes is None else data.classes[rows]


def _groups(data: DataModule, rows: np.ndarray, column: str | None) -> np.ndarray | None:
    """(rows,) the group of each row, by the user's column, or else by what the dataset itself keeps in one part; None without groups."""
    if column is None:
        if not isinstance(data, RowData):
            return None
        groups = data.content.columns[data.targets[0]] if data.unseen_classes else data.groups
        return None if groups is None else np.unique(groups[rows], return_inverse=True)[1].reshape(-1)
    try:
        values = data.column(column)
    except DataError as error:
        raise DataError(f"trainer.group: {error}") from None
    return np.unique(values.astype(str), return_inverse=True)[1].reshape(-1)[rows]


def _seed(cfg: dict[str, Any], data: DataModule) -> int:
    seed = data.split.get("seed")
    return cfg["seed"] if seed is None else seed


def _validation(
    cfg: dict[str, Any], data: DataModule, rows: np.ndarray, classes: np.ndarray | None, groups: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Splits validation rows, which select the epoch, off the training rows; groups stay together."""
    sizes = data.sizes
    share = sizes["val"] / (sizes["train"] + sizes["val"]) if sizes["val"] else 0.0
    size = int(share * len(rows) + 0.5)
    if not size:
        return {}
    if groups is not None:
        present, counts = np.unique(groups, return_counts=True)
        order = np.random.default_rng(_seed(cfg, data)).permutation(len(present))
        filled = int(np.searchsorted(np.cumsum(counts[order]), size))
        kept = np.isin(groups, present[order[: max(1, filled)]])
        return {"train": rows[~kept], "val": rows[kept]}
    return split_rows(rows, {"train": len(rows) - size, "val": size}, _seed(cfg, data), classes, data.title)


def _fold(
    cfg: dict[str, Any],
    data: DataModule,
    result: Result,
    tracked: Run,
    report: Any,
    directory: Path,
    number: int,
    seconds: dict[str, float],
    overrides: Sequence[str],
    about: str,
) -> tuple[Learner, Evaluation]:
    """(learner, its evaluation on the held-out rows) of one fold, recorded as a run nested below `tracked`. about: its description."""
    record, whole = RunState(directory), read_record(result.directory).get("key")
    earlier = read_record(directory) if whole and read_record(directory).get("whole") == whole else {}
    if earlier.get("status") == "FINISHED":
        learner = load_learner(directory / "model")
        learner.training.parameters = earlier["parameters"]
        return learner, learner.evaluate(data, "test")
    record.begin(None, {**earlier, "whole": whole})
    tags = {
        KIND: "fold",
        "model": result.model,
        "dataset": result.dataset,
        "fold": number,
        "directory": directory,
        "seed": cfg["seed"],
        KEY: record.key,
    }
    run = Run(
        cfg["tracking"]["experiment"],
        f"fold {number}",
        tags,
        parameters(cfg, data.problem),
        tracked.id_in_time or str(result.directory.resolve()),
        earlier.get("run_id"),
        lambda run_id: record.update(run_id=run_id),
        directory,
    )
    part = Result(result.model, result.dataset, directory)
    status = "FAILED"
    try:
        seed_everything(cfg["seed"])
        learner = make_learner(cfg, data)
        run.tags(as_tag(learner.directions))
        with part.phase("fit"):
            learner.fit(data, run, directory, report.Progress(), newest_checkpoint(directory) if earlier else None)
        with part.phase("evaluate"):
            evaluation = learner.evaluate(data, "test")
        metrics = {f"test/{name}": value for name, value in evaluation.metrics.items()}
        run.metrics(metrics, step=learner.training.reported_epoch)
        learner.save(directory / "model")
        log_model(run, learner, directory / "model", data.sample("test"))
        part.metrics, part.parameters = metrics, learner.training.parameters
        run.tags({"mlflow.note.content": describe(part, overrides, about)})
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        result.refused = run.close(status) or result.refused
        record.update(status=status, parameters=learner.training.parameters if status == "FINISHED" else None)
    for name, value in part.seconds.items():
        seconds[name] = seconds.get(name, 0.0) + value
    log.info("fold %d: %s", number, ", ".join(f"{name} {value:.6g}" for name, value in metrics.items()))
    return learner, evaluation


def _summary(learner: Learner, data: DataModule, done: list[Fold]) -> dict[str, float]:
    """Means and standard deviations over the folds that define a metric; for folds of a single row, metrics of all rows together."""
    if all(len(fold.rows) == 1 for fold in done) and done[0].evaluation.predictions is not None:
        joined = _joined(data, done)
        metrics: dict[str, float] = {}
        for one in learner.evaluators:
            if not one.needs_batch:
                one.begin(Subject(learner, data, "test"))
                one.update({}, joined.examples, joined.predictions)
                metrics |= one.compute()
        return {f"cv/{name}": value for name, value in metrics.items()}
    summary: dict[str, float] = {}
    partial: dict[int, list[str]] = {}  # number of folds -> metrics that only they define
    for name in done[0].evaluation.metrics:
        values = np.array([fold.evaluation.metrics[name] for fold in done])
        defined = values[~np.isnan(values)]
        if 0 < len(defined) < len(values):
            partial.setdefault(len(defined), []).append(f"cv/{name}")
            values = defined
        summary |= {f"cv/{name}": float(values.mean()), f"cv_std/{name}": float(values.std())}
    for count, names in sorted(partial.items()):
        notify(
            f"warning: {', '.join(names)}: the mean over {count} of {len(done)} folds; the others lack rows to measure it, such as those of a class",
            logging.WARNING,
        )
    return summary


def _joined(data: DataModule, done: list[Fold]) -> Evaluation:
    """The held-out rows of several folds as one evaluation."""
    whole = data.with_parts({"test": np.concatenate([fold.rows for fold in done])})
    first, *others = (fold.evaluation.predictions for fold in done)
    return Evaluation("test", {}, whole.examples("test"), first.concatenate(others))


def _write_out_of_fold(path: Path, done: list[Fold], data: DataModule) -> None:
    """Writes row, repeat, fold, true, predicted and further columns of the prediction; nothing if predictions cannot be compared with a target."""
    if done[0].evaluation.predictions is None or data.target is None:
        return
    if not _predicts(done[0].evaluation.predictions, data.target):
        return
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for at, fold in enumerate(done):
            columns = fold.evaluation.predictions.columns()
            names = ["predicted" if name == "prediction" else name for name in columns]
            if at == 0:
                writer.writerow(["row", "repeat", "fold", "true", *names])
            truth = fold.evaluation.examples[data.targets[0]]
            for place, row in enumerate(data.source_rows(fold.rows)):
                answer = [_cell(name, values[place]) for name, values in columns.items()]
                own = [row, fold.repeat, fold.number, written(data.target, truth[place])]
                writer.writerow(map(safe_cell, [*own, *answer]))


def _predicts(predictions: Predictions, target: Feature) -> bool:
    return predictions.kind == target.kind


def written(target: Feature, value: Any) -> Any:
    """A true value as a cell of a table."""
    if target.kind == "label":
        return cast(Label, target).classes[int(value)]
    described = target.describe(value)
    return json.dumps(described, ensure_ascii=False) if isinstance(described, (list, dict)) else described


def _cell(name: str, value: Any) -> Any:
    return f"{value:.6g}" if name.startswith("probability") else value


def _draw(learner: Learner, data: DataModule, done: list[Fold], folder: Path, tracked: Run) -> None:
    """Draws the model's views of predictions for all rows of the first repeat."""
    first = [fold for fold in done if fold.repeat == 1]
    if first[0].evaluation.predictions is None or data.target is None:
        return
    from mlrun.report.captions import captioned

    joined = _joined(data, first)
    whole = data.with_parts({"test": np.concatenate([fold.rows for fold in first])})
    pooled = [view for view in learner.views if view.of_predictions]
    about = f"{title(learner.recipe['model'], data)}, {len(joined.predictions):,} held-out rows of all folds"
    drawn = ((name, figure) for view in pooled for name, figure in view.draw(learner, whole, joined))
    draw(((name, captioned(figure, name, about)) for name, figure in drawn), folder)
    tracked.artifact(folder, "figures")
