"""A search with Optuna: whenever a slot is free it gets a new trial, which reports its epochs and is pruned if they are not promising."""

from __future__ import annotations

import os
import shlex
import socket
import warnings
import zlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from mlrun.config.hydra_internals import parse_override
from mlrun.config.identity import CHANGEABLE
from mlrun.config.overrides import as_command
from mlrun.config.passwords import masked
from mlrun.config.schema import check_settings
from mlrun.config.validate import nearest
from mlrun.errors import ConfigError, UserError
from mlrun.sweep import job as states
from mlrun.sweep.job import Job
from mlrun.sweep.optuna_internals import set_violations, violations_of
from mlrun.sweep.selection import Selection
from mlrun.sweep.space import Setting, Space, parse_space
from mlrun.sweep.sweep import Sweep
from mlrun.sweep.watched import watched

if TYPE_CHECKING:
    import optuna
    from omegaconf import DictConfig
    from optuna.trial import FrozenTrial, Trial

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("none", "median", "halving")
OPTUNA_DIRECTIONS = {"max": "maximize", "min": "minimize"}
# User attributes of a trial.
REASON = "reason"  # why it failed; a failed trial without a reason was cut off: it is repeated, and does not count
OWNER = "sweep"  # the sweep that runs it
OVERRIDES = "overrides"  # the job's settings
MODELS = {"model", "dataset", "experiment"}  # settings whose choices decide which metrics are measured
SEARCH = "mlrun.search"  # user attribute of a study: what its trials share
MAY_DIFFER = {*CHANGEABLE, "seed", "tracking.experiment"}  # settings in which machines that share a study may differ


class Search:
    """A study and the sweep that runs its trials.

    Args:
        settings: conf/hydra/sweeper/optuna.yaml.
        arguments: overrides on the command line, searched ones among them.

    Raises:
        UserError: the settings or the search space are wrong.
    """

    study: optuna.Study

    def __init__(self, settings: dict[str, Any], sweep: Sweep, arguments: list[str]):
        check_settings("hydra.sweeper", settings)
        _check_storage(sweep.config)
        self.settings, self.sweep = settings, sweep
        self.selection = Selection.parse([f"select.{word}" for word in settings["select"]])
        if (self.selection.metric or "").startswith("test/"):
            raise ConfigError(
                f"select: {self.selection.metric} cannot guide a search; choose by a metric of the val part"
            )
        self.space: Space = parse_space(settings["params"], arguments)
        if not self.space.settings:
            raise ConfigError(
                "nothing to search over: give choices or intervals, e.g. 'optim.lr=tag(log, interval(1e-4, 1e-1))'"
            )
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if settings[name] not in known:
                raise ConfigError(f"hydra.sweeper.{name}={settings[name]}: must be one of {', '.join(known)}")
        self.total = settings["n_trials"]
        self.grid = self.space.combinations() if settings["sampler"] == "grid" else []
        self.total = len(self.grid) or self.total
        self.trials: dict[int, Trial] = {}  # job number -> trial
        self.failure: ConfigError | None = None  # found by a trial: the search cannot go on
        sweep.settings["prunes"] = settings["pruner"] != "none"
        self.owner = f"{socket.gethostname()}:{sweep.directory}"

    def check(self) -> None:
        """Composes a job for every choice and for both ends of every range. Raises ConfigError with all problems before the first trial."""
        self.samples: list[Job] = []
        problems: dict[str, None] = {}
        for overrides in self.space.samples():
            try:
                self.samples.append(self.sweep.sample(overrides))
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
        if problems:
            raise ConfigError(list(problems))
        self.direction = OPTUNA_DIRECTIONS.get(self.selection.mode or "", self.settings["direction"])
        if self.direction == "auto":
            self.direction = direction_of([job.config for job in self.samples])
        if self.direction not in ("minimize", "maximize"):
            raise ConfigError(f"hydra.sweeper.direction={self.direction}: must be auto, minimize or maximize")

    def run(self) -> float | None:
        """Runs the trials. Returns the best value; None if no trial finished within the limits."""
        grid = {setting.key: [_range_text(setting)] for setting in self.space.settings}
        if self.sweep.resumes:
            self.sweep.adopt()
        self.sweep.begin_record(grid)
        try:
            self._open_study()
        except BaseException:
            self.sweep.abandon()
            raise
        self.sweep.run(self._jobs(), self.total, grid, listeners=[self], like=self.samples, artifacts=self._artifacts)
        if self.failure is not None:
            raise self.failure
        best = self._best()
        return best[0] if best else None

    def _open_study(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # the sampler's argument `group`, which conditional settings need; few trials for a figure of importance
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", module="optuna.importance")
        self.states = optuna.trial.TrialState
        self.study = self._shared_study()
        self.study.sampler = self._sampler(self._seed(len(self.study.get_trials(deepcopy=False))))
        for values in self.grid:
            self.study.enqueue_trial(values, skip_if_exists=True)
        for trial in self.study.get_trials(states=(self.states.RUNNING,)):
            owner = trial.user_attrs.get(OWNER, self.owner if not self.settings["storage"] else None)
            if owner == self.owner:  # this sweep was killed while the trial ran
                self._repeat(trial)

    def _shared_study(self) -> optuna.Study:
        """The study in the storage, which is made if it is not there yet.

        Raises:
            ConfigError: the storage cannot be opened, or its study is that of another search.
        """
        import optuna

        place = self.settings["storage"] or str(self.sweep.directory / "study.journal")
        name = self.settings["study_name"] or "study"
        where = f"hydra.sweeper.storage={masked(place)}"
        try:
            study = optuna.create_study(
                storage=_storage(place),
                study_name=name,
                direction=self.direction,
                load_if_exists=True,
                pruner=self._pruner(),
            )
        except Exception as error:  # of the file system, of SQLAlchemy, of a driver, of Optuna
            raise ConfigError(f"{where}: the study cannot be opened: {masked(' '.join(str(error).split()))}") from error
        own = {
            "settings": sorted(text for text in self.space.fixed if text.partition("=")[0] not in MAY_DIFFER),
            "metric": self.selection.metric,
        }
        made = study.user_attrs.get(SEARCH)
        has_trials = bool(study.get_trials(deepcopy=False))
        if made is None and not has_trials:
            study.set_user_attr(SEARCH, own)
        other, remedy = f"{where}: its study '{name}'", "set hydra.sweeper.study_name=NAME to begin one of your own"
        if not self.settings["storage"]:
            other, remedy = f"{self.sweep.directory}: its search", "resume it as it was, or begin another"
        if has_trials and study.direction.name.lower() != self.direction:
            raise ConfigError(
                f"{other} is to {study.direction.name.lower()}, this search to {self.direction}; {remedy}"
            )
        if made not in (None, own):
            its = " ".join([*made["settings"], *([f"select: {made['metric']}"] if made["metric"] else [])])
            raise ConfigError(f"{other} is that of another search ({its}); {remedy}")
        return study

    def _repeat(self, trial: Trial | FrozenTrial) -> None:
        """Ends a trial that was cut off, without a reason, and enqueues the same parameters again."""
        self.study.tell(trial.number, state=self.states.FAIL)
        if trial.params and REASON not in trial.user_attrs:
            self.study.enqueue_trial(trial.params)

    def _seed(self, trials: int) -> int | None:
        """The sampler's seed. A resumed search must not draw its first points again, nor two machines the same points."""
        seed = self.settings["seed"]
        if seed is None or not (trials or self.settings["storage"]):
            return seed
        return zlib.crc32(f"{seed} {trials} {self.owner if self.settings['storage'] else ''}".encode())

    def _sampler(self, seed: int | None) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        kind = self.settings["sampler"]
        if kind == "tpe":
            return samplers.TPESampler(
                seed=seed, multivariate=True, group=True, n_startup_trials=self.settings["n_startup_trials"]
            )
        # a grid is a queue of trials: Optuna's own grid sampler does not support `ask` and `tell`
        if kind in ("random", "grid"):
            return samplers.RandomSampler(seed=seed)
        if find_spec("cmaes") is None:
            raise UserError("hydra.sweeper.sampler=cmaes needs the package cmaes: pip install cmaes")
        return samplers.CmaEsSampler(seed=seed)

    def _pruner(self) -> optuna.pruners.BasePruner:
        from optuna import pruners

        settings = self.settings
        if settings["pruner"] == "median":
            return pruners.MedianPruner(
                n_startup_trials=settings["n_startup_trials"], n_warmup_steps=settings["n_warmup_epochs"]
            )
        if settings["pruner"] == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=max(1, settings["n_warmup_epochs"]))
        return pruners.NopPruner()

    # --- jobs for the queue -----------------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Job]:
        while self._counted() < self.total:
            trial = self.study.ask()
            trial.set_user_attr(OWNER, self.owner)
            overrides = self.space.suggest(trial)
            try:
                job = self.sweep.compose(overrides, trial.number)
            except ConfigError as error:  # an impossible combination: the search learns from it
                trial.set_user_attr(REASON, str(error))
                self.study.tell(trial, state=self.states.FAIL)
                continue
            self.trials[job.number] = trial
            trial.set_user_attr(OVERRIDES, overrides)
            if job.earlier:  # the same settings were tried before
                job.result = self.sweep.journal.result(job)
                self._report(job)
                continue
            yield job

    def _counted(self) -> int:
        """Trials of the study, on all machines, that have ended or are running."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(trial.state != self.states.WAITING and not self._was_cut_off(trial) for trial in trials)

    def _was_cut_off(self, trial: FrozenTrial) -> bool:
        return trial.state == self.states.FAIL and REASON not in trial.user_attrs

    def _complete(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE,))

    def _best(self) -> tuple[float, FrozenTrial] | None:
        """The best value within the limits, and its trial, which may have run on another machine."""
        accepted = [
            (trial.value, trial)
            for trial in self._complete()
            if trial.value is not None and all(violation <= 0 for violation in violations_of(trial))
        ]
        pick = max if self.direction == "maximize" else min
        return pick(accepted, key=lambda pair: pair[0], default=None)

    # --- listener of the queue --------------------------------------------------------------------------------------

    def epoch(self, job: Job) -> str | None:
        """Returns "prune" if the epochs so far are not promising."""
        if (
            self.selection.metric not in (None, job.monitor)
            or job.watched is None
            or job.watched != job.watched
            or self.settings["pruner"] == "none"
        ):
            return None
        trial = self.trials[job.number]
        trial.report(job.watched, job.epoch)
        return "prune" if trial.should_prune() else None

    def ended(self, job: Job) -> None:
        try:
            self._report(job)
        except ConfigError as error:  # raised when the other jobs have closed their runs
            self.failure = self.failure or error
            self.sweep.queue.drain("stopped, because the search cannot go on")

    def _report(self, job: Job) -> None:
        """Reports the end of a job to the study."""
        trial = self.trials[job.number]
        if job.state == states.FINISHED:
            self._select(trial, job)
        declared = OPTUNA_DIRECTIONS.get(job.mode, self.direction)
        if (
            job.state == states.FINISHED
            and job.monitor
            and declared != self.direction
            and self.settings["direction"] == "auto"
        ):
            raise ConfigError(
                f"the search was to {self.direction} {job.monitor}, but its model declares the opposite: set hydra.sweeper.direction={declared}"
            )
        job.mode = "max" if self.direction == "maximize" else "min"  # what the user has set is how jobs are compared
        value = job.objective
        if job.state == states.FINISHED and value is not None and value == value:
            self.study.tell(trial, value)
        elif job.state == states.PRUNED:
            self.study.tell(trial, state=self.states.PRUNED)
        elif job.stop_reason and job.stop_reason[0] == states.KILLED:  # by the user: the settings are not to blame
            self._repeat(trial)
        else:
            trial.set_user_attr(REASON, job.reason)
            self.study.tell(trial, state=self.states.FAIL)

    def _select(self, trial: Trial, job: Job) -> None:
        """Applies the user's selection to a finished job."""
        violations = self.selection.violations(job.measured)
        job.accepted = all(value <= 0 for value in violations.values())
        set_violations(self.study, trial, violations)
        if self.selection.metric and self.selection.mode:
            if self.selection.metric not in job.measured and not MODELS & {one.key for one in self.space.settings}:
                raise ConfigError(self._unmeasured(job.measured))  # the other trials will not measure it either
            job.monitor, job.mode = self.selection.metric, self.selection.mode
            job.returned = job.measured.get(job.monitor)

    def _unmeasured(self, measured: Iterable[str]) -> str:
        """That no trial has measured the metric to select by, but these."""
        metric, mode = self.selection.metric or "", self.selection.mode or "max"
        known = sorted(name for name in measured if not name.startswith("test/"))
        return (
            f"select.{OPTUNA_DIRECTIONS[mode]}={metric}: no trial has measured this metric{nearest(metric, known)} "
            f"(measured: {', '.join(known)})"
        )

    # --- at the end ------------------------------------------------------------------------------------------------

    def _artifacts(self) -> list[Path]:
        """Writes the preset of the best trial and the figures."""
        best = self._best()
        if self.failure is not None:
            return []
        if best is None:
            if self._complete():
                self.sweep.closing = "select.subject_to: no trial is within the limits"
            elif finished := [job for job in self.sweep.jobs if job.state == states.FINISHED]:
                results = [self.sweep.journal.result(job).get("metrics") or {} for job in finished]
                if self.selection.metric and not any(self.selection.metric in metrics for metrics in results):
                    self.sweep.closing = self._unmeasured({name for metrics in results for name in metrics})
                else:
                    self.sweep.closing = "no trial has a value to compare: the metric is not a number in any of them"
            return []
        from mlrun.report.captions import captioned
        from mlrun.report.figures import save
        from mlrun.sweep.search_figures import history_figure, importance_figure

        preset = self.sweep.directory / "experiment" / "best.yaml"
        preset.parent.mkdir(exist_ok=True)
        groups = set(self.sweep.context.config_loader.list_groups(""))
        value, trial = best
        trials = len(self.study.get_trials(deepcopy=False))
        overrides = trial.user_attrs[OVERRIDES]
        preset.write_text(best_yaml(overrides, groups, value, trials), encoding="utf-8")
        made = [preset]
        metric = next((job.monitor for job in self.sweep.jobs if job.monitor), "monitored metric")
        command = masked(as_command(self.sweep.journal.sweep.get("argv", [])))
        for name, figure in (("history", history_figure), ("importance", importance_figure)):
            drawn = figure(self.study, metric)
            if drawn is not None:
                made.append(self.sweep.directory / f"{name}.png")
                save(captioned(drawn, name, command), made[-1])
        directory = os.path.relpath(self.sweep.directory)
        words = ["mlrun", "--config-dir", directory, "experiment=best", *filter(_is_deletion, overrides)]
        self.sweep.closing = f"best: {shlex.join(words)}"
        return made


def best_yaml(overrides: list[str], groups: set[str], value: float, trials: int) -> str:
    """An `experiment` preset that repeats a trial. It cannot delete a key: deletions must be repeated on the command line.

    Args:
        overrides: of the trial.
        groups: names of Hydra's config groups, which become the preset's defaults.
        value: of the watched metric; trials: how many were tried. Both appear in the header.
    """
    from omegaconf import OmegaConf

    # YAML would read Hydra's notation in another way: {head:10} as a key without a value
    parsed = [parse_override(override) for override in overrides if not _is_deletion(override)]
    defaults: list[Any] = [one.value() for one in parsed if one.key_or_group == "experiment"]
    defaults += [
        {f"override /{one.get_key_element().lstrip('+')}": one.value()}
        for one in parsed
        if one.key_or_group in groups and one.key_or_group != "experiment"
    ]
    values = [one for one in parsed if one.key_or_group not in groups]
    body = OmegaConf.create({})
    for one in values:
        OmegaConf.update(body, one.key_or_group, one.value(), force_add=True)
    head = f"# @package _global_\n# The best of {trials} trials: {value:g}.\n"
    if defaults:
        head += OmegaConf.to_yaml(OmegaConf.create({"defaults": [*defaults, "_self_"]}))
    return head + (OmegaConf.to_yaml(body) if values else "")


def direction_of(configs: list[DictConfig]) -> str:
    """The direction of the metric that the models watch, "maximize" or "minimize". The first job that finishes confirms it.

    Raises:
        ConfigError: the source of the models does not show it, or they differ.
    """
    found = {watched(config.model, config.dataset) for config in configs}
    directions = {OPTUNA_DIRECTIONS[metric[1]] if metric else None for metric in found}
    direction = directions.pop() if len(directions) == 1 else None
    if direction is None:
        raise ConfigError(
            "hydra.sweeper.direction: it is unknown whether larger or smaller values of the watched metric are better; "
            "set it to minimize or maximize"
        )
    return direction


def _is_deletion(override: str) -> bool:
    return override.startswith("~")


def _storage(place: str) -> Any:
    """Optuna's storage at an address or in a file."""
    if "://" in place:
        return place
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(place))


def _range_text(setting: Setting) -> str:
    if setting.kind == "choice":
        return "|".join(setting.choices)
    scale = "log " if setting.log else "1-log " if setting.one_minus else ""
    return f"{scale}{setting.low:g}..{setting.high:g}"


def _check_storage(config: DictConfig) -> None:
    """Raises ConfigError for an address with a password, as it was written: the records of a sweep keep its settings."""
    written = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    storage = str(written["storage"]) if isinstance(written, dict) else ""
    if masked(storage) != storage:
        raise ConfigError(
            f"hydra.sweeper.storage={masked(storage)}: the sweep's files would keep the password. Put the address into an environment "
            "variable and name that: hydra.sweeper.storage='${oc.env:STUDY}'"
        )
