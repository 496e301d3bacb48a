"""A search with Optuna: a trial is asked for whenever a slot becomes free, told its epochs, and pruned when they promise too little."""

from __future__ import annotations

import ast
import os
import socket
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from mlrun.errors import ConfigError, UserError
from mlrun.sweep import job as states
from mlrun.sweep.job import Job
from mlrun.sweep.selection import Selection
from mlrun.sweep.space import Space, parse_space
from mlrun.sweep.sweep import Sweep

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("none", "median", "halving")
LOST = "lost"  # attribute of a trial whose process disappeared: it is asked for again, and does not count
CONSTRAINTS = "constraints"  # system attribute by which Optuna knows what is not good enough: any number above 0
OWNER = "sweep"  # attribute: which sweep's directory runs a trial


class Search:
    """settings: conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, settings: dict, sweep: Sweep, arguments: list[str]):
        self.settings, self.sweep = settings, sweep
        self.selection = Selection.parse([f"select.{word}" for word in settings["select"]])
        if (self.selection.metric or "").startswith("test/"):
            raise ConfigError(f"select: {self.selection.metric} is for the end; choose by a metric of the val part")
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
        self.trials: dict = {}  # job number -> trial
        sweep.settings["prunes"] = settings["pruner"] != "none"
        self.owner = f"{socket.gethostname()}:{sweep.directory}"

    def check(self) -> None:
        """Composes a job for every choice and both ends of every range: what is wrong is said before the first trial."""
        self.samples: list[Job] = []
        problems: dict[str, None] = {}
        for overrides in self.space.samples():
            try:
                self.samples.append(self.sweep.sample(overrides))
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
        if problems:
            raise ConfigError(list(problems))
        self.direction = {"max": "maximize", "min": "minimize"}.get(self.selection.mode, self.settings["direction"])
        if self.direction == "auto":
            self.direction = direction_of([job.config for job in self.samples])
        if self.direction not in ("minimize", "maximize"):
            raise ConfigError(f"hydra.sweeper.direction={self.direction}: must be auto, minimize or maximize")

    def run(self) -> float | None:
        """The best value."""
        grid = {setting.key: [_written(setting)] for setting in self.space.settings}
        self.sweep.begin_record(grid)
        self._open_study()
        self.sweep.run(self._jobs(), self.total, grid, listeners=[self], like=self.samples, artifacts=self._artifacts)
        return self.study.best_value if self._accepted() else None

    def _open_study(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # `group`, which conditional settings need
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.states = optuna.trial.TrialState
        storage = self.settings["storage"] or str(self.sweep.directory / "study.journal")
        if "://" not in storage:
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            storage = JournalStorage(JournalFileBackend(storage))
        name = self.settings["study_name"] or "study"
        self.study = optuna.create_study(
            storage=storage, study_name=name, direction=self.direction, load_if_exists=True, pruner=self._pruner(optuna)
        )
        self.study.sampler = self._sampler(optuna, self._seed(len(self.study.get_trials(deepcopy=False))))
        for values in self.grid:
            self.study.enqueue_trial(values, skip_if_exists=True)
        for trial in self.study.get_trials(states=(self.states.RUNNING,)):
            own = trial.user_attrs.get(OWNER, self.owner if not self.settings["storage"] else None)
            if own == self.owner:  # this sweep was killed while it ran
                self._lose(trial._trial_id, trial)

    def _lose(self, trial_id: int, trial) -> None:
        """Ends a trial that was cut off, and asks for the same again."""
        self.study._storage.set_trial_user_attr(trial_id, LOST, True)
        self.study._storage.set_trial_state_values(trial_id, self.states.FAIL)
        if trial.params:
            self.study.enqueue_trial(trial.params)

    def _seed(self, trials: int) -> int | None:
        """A resumed search must not draw its first points again, nor two machines the same ones."""
        seed = self.settings["seed"]
        if seed is None or not (trials or self.settings["storage"]):
            return seed
        return zlib.crc32(f"{seed} {trials} {self.owner if self.settings['storage'] else ''}".encode())

    def _sampler(self, optuna, seed: int | None):
        samplers = optuna.samplers
        kind = self.settings["sampler"]
        if kind == "tpe":
            return samplers.TPESampler(
                seed=seed, multivariate=True, group=True, n_startup_trials=self.settings["n_startup_trials"]
            )
        # a grid is a queue of trials; Optuna's own sampler for it cannot be asked and told
        if kind in ("random", "grid"):
            return samplers.RandomSampler(seed=seed)
        try:
            import cmaes  # noqa: F401
        except ImportError:
            raise UserError("hydra.sweeper.sampler=cmaes needs the package cmaes: pip install cmaes") from None
        return samplers.CmaEsSampler(seed=seed)

    def _pruner(self, optuna):
        settings, pruners = self.settings, optuna.pruners
        if settings["pruner"] == "median":
            return pruners.MedianPruner(
                n_startup_trials=settings["n_startup_trials"], n_warmup_steps=settings["n_warmup_epochs"]
            )
        if settings["pruner"] == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=max(1, settings["n_warmup_epochs"]))
        return pruners.NopPruner()

    # --- asked by the pool -----------------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Job]:
        while self._counted() < self.total:
            trial = self.study.ask()
            trial.set_user_attr(OWNER, self.owner)
            overrides = self.space.suggest(trial)
            try:
                job = self.sweep.compose(overrides, trial.number)
            except ConfigError as error:  # a combination that cannot be: the search learns from it
                trial.set_user_attr("reason", str(error))
                self.study.tell(trial, state=self.states.FAIL)
                continue
            self.trials[job.number] = trial
            trial.set_user_attr("overrides", overrides)
            if job.earlier:  # the same settings were tried before
                self._tell(job)
                continue
            yield job

    def _counted(self) -> int:
        """Trials of the study, on all machines, that are done or under way."""
        waiting = (self.states.WAITING,)
        trials = self.study.get_trials(deepcopy=False)
        return sum(not trial.user_attrs.get(LOST) and trial.state not in waiting for trial in trials)

    def _complete(self) -> list:
        return self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE,))

    def _accepted(self) -> list:
        return [
            trial for trial in self._complete() if all(over <= 0 for over in trial.system_attrs.get(CONSTRAINTS, ()))
        ]

    # --- told by the pool ------------------------------------------------------------------------------------------

    def epoch(self, job: Job) -> str | None:
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
        self._tell(job)

    def _tell(self, job: Job) -> None:
        trial = self.trials[job.number]
        if job.state == states.FINISHED:
            self._select(trial, job)
        wanted = {"min": "minimize", "max": "maximize"}.get(job.mode, self.direction)
        if (
            job.state == states.FINISHED
            and job.monitor
            and wanted != self.direction
            and self.settings["direction"] == "auto"
        ):
            raise ConfigError(f"{job.monitor} is to be {wanted}d: set hydra.sweeper.direction={wanted}")
        value = job.objective
        if job.state == states.FINISHED and value is not None and value == value:
            self.study.tell(trial, value)
        elif job.state == states.PRUNED:
            self.study.tell(trial, state=self.states.PRUNED)
        elif job.stop_reason and job.stop_reason[0] == states.KILLED:  # by the user: the settings are not to blame
            self._lose(trial._trial_id, self.study._storage.get_trial(trial._trial_id))
        else:
            trial.set_user_attr("reason", job.reason)
            self.study.tell(trial, state=self.states.FAIL)

    def _select(self, trial, job: Job) -> None:
        """Judges a finished job by what the user selects by."""
        over = self.selection.violations(job.measured)
        job.accepted = all(value <= 0 for value in over)
        if over:
            self.study._storage.set_trial_system_attr(trial._trial_id, CONSTRAINTS, over)
        if self.selection.metric:
            job.monitor, job.mode = self.selection.metric, self.selection.mode
            job.returned = job.measured.get(job.monitor)

    # --- at the end ------------------------------------------------------------------------------------------------

    def _artifacts(self) -> list[Path]:
        if not self._accepted():
            if self._complete():
                self.sweep.closing = "select.subject_to: no trial was good enough"
            return []
        from mlrun.report.figures import save
        from mlrun.sweep.search_figures import history_figure, importance_figure

        best = self.sweep.directory / "experiment" / "best.yaml"
        best.parent.mkdir(exist_ok=True)
        overrides = self.study.best_trial.user_attrs["overrides"]  # it may have been another machine's
        groups = set(self.sweep.context.config_loader.list_groups(""))
        best.write_text(
            best_yaml(overrides, groups, self.study.best_value, len(self.study.get_trials(deepcopy=False))),
            encoding="utf-8",
        )
        made = [best]
        for name, figure in (("history", history_figure), ("importance", importance_figure)):
            drawn = figure(self.study)
            if drawn is not None:
                made.append(self.sweep.directory / f"{name}.png")
                save(drawn, made[-1])
        directory = os.path.relpath(self.sweep.directory)
        self.sweep.closing = f"best: mlrun --config-dir {directory} experiment=best"
        return made


def best_yaml(overrides: list[str], groups: set[str], value: float, trials: int) -> str:
    """An `experiment` preset that repeats these overrides."""
    from omegaconf import OmegaConf

    parsed = [override.lstrip("+").partition("=") for override in overrides]
    defaults = [text for key, _, text in parsed if key == "experiment"]
    defaults += [{f"override /{key}": text} for key, _, text in parsed if key in groups and key != "experiment"]
    values = [f"{key}={text}" for key, _, text in parsed if key not in groups]
    body = OmegaConf.from_dotlist(values)
    head = f"# @package _global_\n# The best of {trials} trials: {value:g}.\n"
    if defaults:
        head += OmegaConf.to_yaml(OmegaConf.create({"defaults": [*defaults, "_self_"]}))
    return head + (OmegaConf.to_yaml(body) if values else "")


def direction_of(configs: list) -> str:
    """maximize or minimize, by what the models watch. Raises ConfigError where the source does not tell."""
    found = {_direction(config) for config in configs}
    if len(found) == 1 and None not in found:
        return found.pop()
    raise ConfigError("hydra.sweeper.direction: cannot be told from the model, set it to minimize or maximize")


def _direction(config) -> str | None:
    target = config.model.get("_target_")
    problem = config.dataset.get("problem")
    mode = _mode_in_source(target) if target else None
    if mode:
        return mode
    if "clusterer" in config.model or "decomposer" in config.model:
        return None
    return {"classification": "maximize", "regression": "minimize"}.get(problem)


def _mode_in_source(target: str) -> str | None:
    """The class attribute `mode` of a task, read without importing it."""
    from mlrun.config.sources import resolve

    try:
        node = resolve(target).node
    except (ConfigError, LookupError, AttributeError):
        return None
    for statement in getattr(node, "body", ()):
        if not isinstance(statement, ast.Assign):
            continue
        names, values = statement.targets[0], statement.value
        pairs = (
            zip(names.elts, values.elts)
            if isinstance(names, ast.Tuple) and isinstance(values, ast.Tuple)
            else [(names, values)]
        )
        for name, value in pairs:
            if isinstance(name, ast.Name) and name.id == "mode" and isinstance(value, ast.Constant):
                return {"min": "minimize", "max": "maximize"}.get(value.value)
    return None


def _written(setting) -> str:
    if setting.kind == "choice":
        return "|".join(setting.choices)
    scale = "log " if setting.log else "1-log " if setting.one_minus else ""
    return f"{scale}{setting.low:g}..{setting.high:g}"
