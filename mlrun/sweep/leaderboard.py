"""Groups runs that differ only in their seed into one row: mean, standard deviation, best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlrun.tracking.directions import (
    DIRECTIONS,
    EARLIER_WALL,
    KIND,
    MODE,
    MONITOR,
    REJECTED,
    WALL,
    Direction,
    direction_of,
    without_part,
)
from mlrun.tracking.read import find_runs, tag_values
from mlrun.tracking.stored_run import StoredRun

TAGS = ("model", "dataset", "family", "problem")  # tags that can be columns
READ_TAGS = (*TAGS, "parameters", MONITOR, MODE, DIRECTIONS, REJECTED, KIND, "mlflow.parentRunId")
SEEDS = ("seed", "random_state")  # last parts of parameters that may follow the run's seed
HIDDEN = {"model._target_", "model.name", "dataset.name", "dataset._target_"}  # the tags model and dataset show them


Groups = dict[tuple[tuple[str, str], ...], list[StoredRun]]  # (key, value) of the settings that the runs share


@dataclass
class Row:
    """One group of runs."""

    keys: dict[str, str]  # the settings that its runs share
    values: list[float] = field(default_factory=list)  # of the metric, one per seed
    tests: list[float] = field(default_factory=list)  # of the same metric on the test part, for seeds that have it
    seeds: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    parameters: int | None = None
    unfinished: int = 0  # seeds without a finished run
    best_run: str = ""
    runs: list[str] = field(default_factory=list)  # ids, one per seed
    incomplete: bool = False  # fewer seeds than other groups, or unfinished runs

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def test(self) -> float | None:
        """Mean of the metric on the test part; None if it was not measured."""
        return float(np.mean(self.tests)) if self.tests else None

    @property
    def std(self) -> float:
        """Standard deviation as numpy computes it, divided by n."""
        return float(np.std(self.values)) if self.values else float("nan")

    def best(self, mode: Direction) -> float:
        return (max if mode == "max" else min)(self.values) if self.values else float("nan")


@dataclass
class Board:
    """Groups of runs, the best first."""

    metric: str
    mode: Direction
    rows: list[Row]
    shown: list[str]  # keys in which rows differ
    monitor: str = ""  # the metric that the runs watched during training
    dataset: str = ""  # of all runs
    problem: str = ""
    test: str = ""  # the test value of the metric, shown besides; "" if it is the metric itself, or was not measured


@dataclass
class Curve:
    """Mean and standard deviation over the seeds of one group, at every point that all of them reached."""

    name: str
    at: np.ndarray  # (points,), epochs or environment steps
    mean: np.ndarray  # (points,)
    std: np.ndarray  # (points,)
    n: int  # seeds


def leaderboards(
    runs: list[StoredRun], metric: str | None = None, by: list[str] | None = None, mode: Direction | None = None
) -> list[Board]:
    """A board for each dataset and problem: their numbers cannot be compared. Without a metric also for each watched metric.

    The board with most groups comes first. See `leaderboard` for the arguments and errors.
    """
    sets: dict[tuple[str, ...], list[StoredRun]] = {}
    begun: list[StoredRun] = []  # runs that ended, or still are, before it is known what they watch
    for run in _compared(runs):
        watched = "" if metric else run.tags.get("monitor", "")
        if not (metric or watched or run.status == "FINISHED"):
            begun.append(run)
        else:
            sets.setdefault((run.tags.get("dataset", ""), run.tags.get("problem", ""), watched), []).append(run)
    for run in begun:
        _like(run, sets).append(run)
    boards = []
    for (dataset, problem, _), compared in sets.items():
        if metric and not any(metric in run.metrics for run in compared):
            continue
        board = _board(compared, metric, by, mode)
        shown = (
            board.shown if by or not dataset else [key for key in board.shown if key != "dataset"]
        )  # the heading has it
        boards.append(replace(board, dataset=dataset, problem=problem, shown=shown))
    return sorted((board for board in boards if board.rows), key=lambda board: -len(board.rows))


def _like(run: StoredRun, sets: dict[tuple[str, ...], list[StoredRun]]) -> list[StoredRun]:
    """Of the sets by dataset, problem and watched metric, the one to which a run belongs that has only begun: that with most runs of its model."""
    dataset, problem = run.tags.get("dataset", ""), run.tags.get("problem")
    found = [some for key, some in sets.items() if key[0] == dataset and problem in (None, key[1])]
    if not found:
        return sets.setdefault((dataset, problem or "", ""), [])
    model = run.tags.get("model")
    return max(found, key=lambda some: (sum(one.tags.get("model") == model for one in some), len(some)))


def leaderboard(
    runs: list[StoredRun], metric: str | None = None, by: list[str] | None = None, mode: Direction | None = None
) -> Board:
    """Groups runs and ranks the groups.

    Args:
        metric: to rank by; None: the metric that most runs watched, on the validation part if it was measured there. The test part
            is for the final report, not for choosing.
        by: keys whose values define a group; None: all settings but seeds.
        mode: whether larger or smaller values are better; None: as the runs declare.

    Raises:
        UserError: the runs do not declare the direction of the metric, and `mode` is None.
    """
    return _board(_compared(runs), metric, by, mode)


def _board(runs: list[StoredRun], metric: str | None, by: list[str] | None, mode: Direction | None) -> Board:
    usual = _usual_metrics(runs)
    chosen = metric or (usual[0] if usual else "")
    if mode is None:
        is_measured = any(chosen in run.metrics for run in runs)
        mode = direction_of(chosen, runs) if is_measured else "max"  # without a value there is nothing to rank
    groups = _groups(runs, by)
    if not by:
        groups = _split_by_fixed_seeds(groups)
    watched = {key: group for key, group in groups.items() if metric or _has(group, chosen)}
    rows = [_row(dict(key), group, chosen, mode, one_per_seed=not by) for key, group in watched.items()]
    if metric:
        rows = [row for row in rows if row.n]
    wanted = max((row.n for row in rows), default=0)
    for row in rows:
        row.incomplete = row.unfinished > 0 or (not by and row.n < wanted)
    sign = -1 if mode == "max" else 1

    def rank(row: Row) -> tuple[bool, float, list[tuple[str, str]]]:
        mean = row.mean
        return mean != mean, 0.0 if mean != mean else sign * mean, sorted(row.keys.items())

    rows.sort(key=rank)
    test = f"test/{without_part(chosen)}"
    test = test if chosen != test and any(row.tests for row in rows) else ""
    shared = Counter(item for row in rows for item in row.keys.items())  # (key, value) -> rows
    keys = list(dict.fromkeys(key for key, _ in shared))
    alike = {key for (key, _), count in shared.items() if count == len(rows)}
    differ = [key for key in keys if key not in alike and key not in HIDDEN]
    shown = by or [key for key in ("model", "dataset") if key in keys] + [
        key for key in differ if key not in ("model", "dataset")
    ]
    return Board(chosen, mode, rows, _without_consequences(shown, rows, by), _monitor(runs, chosen), test=test)


def _compared(runs: list[StoredRun]) -> list[StoredRun]:
    """The experiments among the runs, with the metrics that they report: no sweeps, folds, analyses or rejected data."""
    return [as_reported(run) for run in runs if run.params and KIND not in run.tags and not _was_rejected(run)]


def read_runs(experiment: str, needed: Collection[str] = ()) -> list[StoredRun]:
    """The runs of an experiment with what a leaderboard needs of them.

    Args:
        needed: metrics beside the watched ones. Where no run has one of them, the runs have all their metrics.

    Raises:
        UserError: there is no such experiment.
    """
    watched = {without_part(name) for name in (*tag_values(MONITOR), *needed)}

    def is_needed(name: str) -> bool:
        return not watched or without_part(name) in watched or name.startswith((WALL, EARLIER_WALL))

    runs = find_runs(experiment, is_needed, READ_TAGS)
    # the runs of another program declare no metric that they watch
    if all(any(name in run.metrics for run in runs) for name in needed) and all(
        MONITOR in run.tags for run in runs if run.status == "FINISHED" and run.params and KIND not in run.tags
    ):
        return runs
    return find_runs(experiment, tags=READ_TAGS)


def curves(
    board: Board, read: Callable[[list[str], str], dict[str, dict[int, float]]], metric: str, shown: int = 8
) -> tuple[str, list[Curve]]:
    """The metric over training, for the best groups.

    Args:
        read: `mlrun.tracking.read.metric_histories` or a function like it.
        shown: how many groups.

    Returns:
        What the horizontal axis counts, and the curves. The axis counts environment steps in reinforcement learning, where epochs of
        different methods are not comparable, and epochs otherwise.
    """
    rows = [row for row in board.rows if row.n][:shown]
    runs = [run for row in rows for run in row.runs]
    values, steps = read(runs, metric), read(runs, "train/steps")
    by_steps = bool(values) and all(set(values[run]) <= set(steps.get(run, ())) for run in values)
    found = []
    for row in rows:
        seeds = [values[run] for run in row.runs if run in values]
        if not seeds:
            continue
        epochs = sorted(set.intersection(*(set(seed) for seed in seeds)))
        table = np.array([[seed[epoch] for epoch in epochs] for seed in seeds])
        clock = steps[next(run for run in row.runs if run in values)] if by_steps else None
        at = np.array([clock[epoch] if clock else epoch for epoch in epochs], float)
        name = " ".join(
            row.keys.get(key, "").rpartition(".")[2] if key.endswith("_target_") else row.keys.get(key, "")
            for key in board.shown
        )
        found.append(Curve(name, at, table.mean(axis=0), table.std(axis=0), len(seeds)))
    return ("environment steps" if by_steps else "epoch"), found


def as_reported(run: StoredRun) -> StoredRun:
    """The run with the validation metrics of the epoch that it reports, in place of those of its last epoch."""
    best = {name.removeprefix("best_"): value for name, value in run.metrics.items() if name.startswith("best_val/")}
    return replace(run, metrics={**run.metrics, **best}) if best else run


def _was_rejected(run: StoredRun) -> bool:
    """Whether the run never began, because its data or configuration were refused."""
    return run.status == "FAILED" and REJECTED in run.tags


def _monitor(runs: list[StoredRun], metric: str) -> str:
    watched = [run.tags["monitor"] for run in runs if run.tags.get("monitor") and metric in run.metrics]
    return max(set(watched), key=watched.count) if watched else metric


def _usual_metrics(runs: list[StoredRun]) -> list[str]:
    """The watched metrics, that of most runs first; the test value of one that has no other."""
    counts: dict[str, int] = {}
    for run in runs:
        monitor = run.tags.get("monitor")
        if monitor:
            test = f"test/{without_part(monitor)}"
            name = test if monitor not in run.metrics and test in run.metrics else monitor
            counts[name] = counts.get(name, 0) + 1
    if not counts:  # recorded by another program
        for run in runs:
            for name in run.metrics:
                if name.startswith("test/"):
                    counts[name] = counts.get(name, 0) + 1
        return sorted(counts, key=lambda name: (-counts[name], name))[:1]
    return sorted(counts, key=lambda name: (-counts[name], name))


def _groups(runs: list[StoredRun], by: list[str] | None) -> Groups:
    """The runs by their settings: those that `by` names, else all but seeds, with model and dataset by name."""
    groups: Groups = {}
    if by:
        for run in runs:
            groups.setdefault(tuple(sorted(_by(run, by).items())), []).append(run)
        return groups
    # The settings of thousands of runs are compared before any is sorted: most have the same names, and many the same values.
    alike: dict[tuple[Any, ...], list[StoredRun]] = {}
    shown: dict[tuple[str, ...], list[str]] = {}  # names of parameters -> those that are not seeds
    for run in runs:
        names = tuple(run.params)
        kept = shown.get(names)
        if kept is None:
            kept = shown[names] = [name for name in names if name.rpartition(".")[2] not in SEEDS]
        values = tuple(map(run.params.get, kept))
        alike.setdefault((names, values, run.tags.get("model"), run.tags.get("dataset")), []).append(run)
    for (names, values, *_), some in alike.items():
        tags = {key: some[0].tags[key] for key in ("model", "dataset") if key in some[0].tags}
        settings = dict(zip(shown[names], values)) | tags
        groups.setdefault(tuple(sorted(settings.items())), []).extend(some)
    return groups


def _by(run: StoredRun, keys: list[str]) -> dict[str, str]:
    return {key: _value(run, key) for key in keys}


def keys_of(runs: list[StoredRun]) -> set[str]:
    """What `by` accepts: settings, without `._target_` as the columns show them, and tags such as `family` and `problem`."""
    known = {key for run in runs for key in run.params} | {key for run in runs for key in run.tags if key in TAGS}
    return known | {key.removesuffix("._target_") for key in known}


def _value(run: StoredRun, key: str) -> str:
    """A setting or tag of a run; the class of `optim` for `optim`."""
    if key in TAGS and key in run.tags:
        return run.tags[key]
    return run.params.get(key, run.params.get(f"{key}._target_", "").rpartition(".")[2])


def _split_by_fixed_seeds(groups: Groups) -> Groups:
    """Treats a nested seed that does not follow the run's seed (such as that of a fixed split) as a setting."""
    split: Groups = {}
    seeds: dict[tuple[str, ...], list[str]] = {}  # names of parameters -> the nested seeds among them
    for key, group in groups.items():
        for run in group:
            if (names_of := tuple(run.params)) not in seeds:
                seeds[names_of] = [name for name in names_of if "." in name and name.rpartition(".")[2] in SEEDS]
        names = sorted({name for run in group for name in seeds[tuple(run.params)]})
        fixed = {
            name: {run.params.get(name) for run in group if run.params.get(name) != run.params.get("seed")}
            for name in names
        }
        for run in group:
            extra = [(name, run.params.get(name, "")) for name in names if run.params.get(name) in fixed[name]]
            split.setdefault((*key, *extra), []).append(run)
    return split


def _has(group: list[StoredRun], metric: str) -> bool:
    """Whether a group has the metric, or might have it one day because none of its runs has finished."""
    return any(metric in run.metrics for run in group) or not any(run.status == "FINISHED" for run in group)


def _row(keys: dict[str, str], group: list[StoredRun], metric: str, mode: Direction, one_per_seed: bool) -> Row:
    row = Row(keys)
    latest: dict[str, StoredRun] = {}
    unfinished: set[str] = set()
    for run in sorted(group, key=lambda run: run.started):
        seed = run.params.get("seed", "") if one_per_seed else run.run_id
        if run.status == "FINISHED" and metric in run.metrics:
            latest[seed] = run  # of runs with the same seed, the latest counts
        else:
            unfinished.add(seed)
    row.unfinished = len(unfinished - set(latest))
    for seed in sorted(latest, key=lambda seed: (len(seed), seed)):
        run = latest[seed]
        row.values.append(run.metrics[metric])
        row.runs.append(run.run_id)
        if f"test/{without_part(metric)}" in run.metrics:
            row.tests.append(run.metrics[f"test/{without_part(metric)}"])
        row.seeds.append(run.params.get("seed", ""))
        row.seconds.append(sum(value for name, value in run.metrics.items() if name.startswith((WALL, EARLIER_WALL))))
        if run.tags.get("parameters", "").isdigit():
            row.parameters = int(run.tags["parameters"])
    if latest:
        pick = max if mode == "max" else min
        row.best_run = pick(latest.values(), key=lambda run: run.metrics[metric]).run_id
    return row


def _without_consequences(shown: list[str], rows: list[Row], by: list[str] | None) -> list[str]:
    """Leaves out settings that follow from a shown one: `optim=sgd` brings a dozen arguments with it."""
    if by:
        return shown
    kept: list[str] = []
    codes, count = [0] * len(rows), 1  # of each row's values of the kept keys, and how many there are
    for key in sorted(
        shown,
        key=lambda key: (
            key not in ("model", "dataset"),
            not key.endswith("_target_"),
            key.count("."),
            shown.index(key),
        ),
    ):
        found: dict[tuple[int, str | None], int] = {}
        refined = [found.setdefault((code, row.keys.get(key)), len(found)) for code, row in zip(codes, rows)]
        if key in ("model", "dataset") or len(found) > count:
            kept.append(key)
            codes, count = refined, len(found)
        if count == len(rows) and {"model", "dataset"} & set(shown) <= set(kept):
            break  # every row differs from every other in a setting that is shown
    return kept
