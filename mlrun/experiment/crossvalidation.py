"""`trainer=kfold`: a run whose folds are runs of their own, nested below it. Splitters are scikit-learn's."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np

from mlrun.config.identity import flatten, is_network, relevant
from mlrun.data.splits import split_rows
from mlrun.errors import ConfigError, DataError
from mlrun.evaluation.outcome import Outcome
from mlrun.experiment.state import RunState, newest_checkpoint
from mlrun.tracking.recorder import KEY
from mlrun.tracking.run import Run
from mlrun.tracking.run_directory import locked, read_record

log = logging.getLogger("mlrun")


def cross_validate(cfg: dict, data, result, tracked: Run, report, overrides=()) -> None:
    """Trains and tests a learner per fold; leaves "cv/…" means and deviations (numpy's, over folds) in `result.metrics`.

    Gone on with, folds that an earlier attempt finished are only measured again, and the one it was at goes on from its checkpoint.
    Which rows are folded: all that the split uses, without a test part that the set brings itself, which stays untouched.
    """
    settings = cfg["trainer"]
    if settings["devices"] not in (1, "auto", "1"):
        raise ConfigError(f"trainer.devices={settings['devices']}: cross-validation trains fold by fold on one device")
    rows, _, classes = _pool(data)
    groups = _groups(data, rows, settings.get("group"))
    plan = list(folds(len(rows), settings["folds"], settings.get("repeats") or 1, _seed(cfg, data), classes, groups))
    sizes = {_division(settings): len(rows)}
    report.config_summary(cfg, overrides, sizes=sizes, problem=data.spec.problem, directory=result.directory)
    out_of_fold, measured, seconds = [], [], {}
    for number, (train, held_out) in enumerate(plan, start=1):
        parts = {"train": rows[train], "test": rows[held_out]}
        if is_network(cfg["model"]):
            parts.update(
                _validation(
                    cfg,
                    data,
                    rows[train],
                    None if classes is None else classes[train],
                    None if groups is None else groups[train],
                )
            )
        directory = result.directory / f"fold_{number}"
        directory.mkdir(exist_ok=True)
        with locked(directory):
            learner, metrics = _fold(cfg, data.with_parts(parts), result, tracked, report, directory, number, seconds)
        measured.append(metrics)
        repeat, fold = divmod(number - 1, settings["folds"])
        out_of_fold.append((repeat + 1, fold + 1, parts["test"], learner.outcome))
        tracked.metrics({f"fold/{name}": value for name, value in metrics.items()}, step=number)
        result.parameters = learner.training.parameters
        watched = learner.monitor.rpartition("/")[2]
        report.fold(number, len(plan), watched, metrics.get(watched))
    result.seconds.update(seconds)
    result.monitor, result.mode = f"cv/{learner.monitor.rpartition('/')[2]}", learner.mode
    for name in measured[0]:
        values = np.array([metrics[name] for metrics in measured])
        result.metrics.update({f"cv/{name}": float(values.mean()), f"cv_std/{name}": float(values.std())})
    with result.phase("report"):
        _write_out_of_fold(result.directory / "out_of_fold.csv", out_of_fold, data)
        (result.directory / "folds.json").write_text(json.dumps(measured, indent=2), encoding="utf-8")
        for name in ("out_of_fold.csv", "folds.json"):
            if (result.directory / name).is_file():
                tracked.artifact(result.directory / name)
        _draw(data, out_of_fold, result.directory / "figures", tracked)


def folds(count: int, number: int, repeats: int, seed: int, classes=None, groups=None):
    """Yields (training places, held-out places) of 0..count-1, `repeats` times `number` folds.

    The splitter is what a user of scikit-learn would write: (Repeated)StratifiedKFold where there are classes, (Repeated)KFold
    where there are none, StratifiedGroupKFold or GroupKFold with groups; shuffled, with `seed` as random_state (seed + repeat
    for groups). Raises DataError where that is not possible.
    """
    from sklearn import model_selection as select

    if number > count:
        raise DataError(f"trainer.folds={number}: there are only {count} rows")
    y = np.zeros(count) if classes is None else classes
    if groups is not None:
        present = len(np.unique(groups))
        if present < number:
            raise DataError(f"trainer.folds={number}: there are only {present} groups (trainer.group)")
        kind = select.GroupKFold if classes is None else select.StratifiedGroupKFold
        for repeat in range(repeats):
            yield from kind(number, shuffle=True, random_state=seed + repeat).split(y, y, groups)
        return
    if classes is not None:
        least = int(np.bincount(classes).min(initial=count, where=np.bincount(classes) > 0))
        if least < number:
            raise DataError(
                f"trainer.folds={number}: the smallest class has {least} row{'s' * (least != 1)}; take fewer folds, or set dataset.split.stratify=false"
            )
    if repeats > 1:
        kind = select.RepeatedKFold if classes is None else select.RepeatedStratifiedKFold
        yield from kind(n_splits=number, n_repeats=repeats, random_state=seed).split(y, y)
        return
    kind = select.KFold if classes is None else select.StratifiedKFold
    yield from kind(number, shuffle=True, random_state=seed).split(y, y)


def _division(settings) -> str:
    """How rows are folded, in words."""
    group, repeats = settings.get("group"), settings.get("repeats") or 1
    return f"rows in {settings['folds']} folds{f' by {group}' if group else ''}{f', {repeats} times' * (repeats > 1)}"


def _pool(data):
    """(rows, y, classes or None) of what is folded, in the order of the rows."""
    if not hasattr(data, "content"):
        raise ConfigError(f"trainer=kfold: {data.name} has no rows that could be folded")
    parts = [
        part for part in data.sizes if part != "test" or data.content.test_rows is None and data.content.sources is None
    ]
    rows = np.sort(np.concatenate([data.rows(part) for part in parts]))
    y = data.content.y[rows]
    by_class = data.problem == "classification" and data.split.get("stratify", True)
    return rows, y, y if by_class else None


def _groups(data, rows, column):
    if column is None:
        return None
    try:
        values = data.column(column)
    except DataError as error:
        raise DataError(f"trainer.group: {error}") from None
    return np.unique(values.astype(str), return_inverse=True)[1].reshape(-1)[rows]


def _seed(cfg, data) -> int:
    seed = data.split.get("seed")
    return cfg["seed"] if seed is None else seed


def _validation(cfg, data, rows, classes, groups) -> dict:
    """Training rows with a part kept aside for choosing the epoch: whole groups where there are groups."""
    sizes = data.sizes
    share = sizes["val"] / (sizes["train"] + sizes["val"]) if sizes["val"] else 0.0
    size = int(share * len(rows) + 0.5)
    if not size:
        return {}
    if groups is not None:
        order = np.random.default_rng(_seed(cfg, data)).permutation(np.unique(groups))
        counts = np.cumsum([np.sum(groups == group) for group in order])
        kept = np.isin(groups, order[: max(1, int(np.searchsorted(counts, size)))])
        return {"train": rows[~kept], "val": rows[kept]}
    return split_rows(rows, {"train": len(rows) - size, "val": size}, _seed(cfg, data), classes, data.title)


def _fold(cfg, data, result, tracked, report, directory, number, seconds):
    """(learner, metrics on the held-out rows) of one fold, which is recorded as a run below `tracked`."""
    from mlrun.experiment.run import Result, seed_everything
    from mlrun.predictions.learner import load_learner, make_learner

    record, whole = RunState(directory), read_record(result.directory).get("key")
    earlier = read_record(directory) if whole and read_record(directory).get("whole") == whole else {}
    if earlier.get("status") == "FINISHED":
        learner = load_learner(directory / "model")
        learner.training.parameters = earlier["parameters"]
        return learner, learner.evaluate(data, "test")
    record.begin(None, {**earlier, "whole": whole})
    tags = {
        "mlrun.kind": "fold",
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
        flatten(relevant(cfg)),
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
        with part.phase("fit"):
            learner.fit(data, run, directory, report.Progress(), newest_checkpoint(directory) if earlier else None)
        with part.phase("evaluate"):
            metrics = learner.evaluate(data, "test")
        run.metrics({f"test/{name}": value for name, value in metrics.items()}, step=learner.training.best_epoch or 0)
        learner.save(directory / "model")
        example = data.example("test")
        run.model(
            directory / "model",
            example,
            learner.predict(example),
            learner.requirements(),
            learner.flavors(),
            data.columns,
        )
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
    return learner, metrics


def _write_out_of_fold(path: Path, out_of_fold: list, data) -> None:
    """row, repeat, fold, true, predicted, and the probability of each class; nothing where answers have no truth to be held against."""
    if out_of_fold[0][3] is None:
        return
    labels = data.spec.labels
    classes = labels if out_of_fold[0][3].probabilities is not None else []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "repeat", "fold", "true", "predicted", *(f"probability_{label}" for label in classes)])
        for repeat, fold, rows, outcome in out_of_fold:
            for at, row in enumerate(rows):
                answers = [labels[int(value)] if labels else value for value in (outcome.y[at], outcome.predicted[at])]
                shares = [f"{share:.6g}" for share in outcome.probabilities[at]] if classes else []
                writer.writerow([row, repeat, fold, *answers, *shares])


def _draw(data, out_of_fold: list, folder: Path, tracked: Run) -> None:
    """The figures of a test, of all rows of the first repeat."""
    from mlrun.experiment.run import draw
    from mlrun.report.supervised import supervised_figures

    first = [(rows, outcome) for repeat, _, rows, outcome in out_of_fold if repeat == 1]
    if first[0][1] is None:
        return
    whole = data.with_parts({"test": np.concatenate([rows for rows, _ in first])})
    outcomes = [outcome for _, outcome in first]
    joined = {name: np.concatenate([getattr(outcome, name) for outcome in outcomes]) for name in ("y", "predicted")}
    shares = (
        None if outcomes[0].probabilities is None else np.concatenate([outcome.probabilities for outcome in outcomes])
    )
    draw(
        supervised_figures(
            whole,
            Outcome(outcomes[0].problem, **joined, probabilities=shares, num_classes=outcomes[0].num_classes),
            "test",
        ),
        folder,
    )
    tracked.artifact(folder, "figures")
