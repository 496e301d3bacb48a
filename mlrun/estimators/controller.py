"""Controllers: tables learned by acting in an environment and evaluated by playing episodes. Needs neither torch nor scikit-learn."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlrun.config.catalogue import datasets_for
from mlrun.config.instantiate import build, plain
from mlrun.data.environments.environment import OBSERVATION, Environment
from mlrun.data.examples import Examples
from mlrun.data.features import Observation
from mlrun.data.module import DataModule
from mlrun.data.predictions import ActionPredictions
from mlrun.data.preprocess.table_rows import ObservationEncoder
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Evaluator, Subject, configured_evaluators
from mlrun.evaluation.selection import select
from mlrun.predictions.learner import Evaluation, Learner, Training, features_of, send_again
from mlrun.predictions.query import Query, make_queries
from mlrun.report.view import make_views

TABLE = "q_table.json"
LAST = "last.json"
MONITOR = "return"


class Controller(Protocol):
    """What learns a table of action values. `epochs` is their number, `epoch` how many are finished."""

    epochs: int
    epoch: int

    @property
    def table(self) -> np.ndarray:
        """Q, (states, actions) float64."""

    def begin(self, data: Environment) -> None:
        """Called before the first epoch, also when training resumes, before `restore`."""

    def learn_epoch(self) -> dict[str, float]:
        """One epoch of learning. Returns its metrics."""

    def state(self) -> dict[str, Any]:
        """Everything that learning resumes from, as plain containers."""

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what `state` returned."""


class ControllerLearner(Learner):
    """A `Controller` and its best table.

    After each epoch the evaluators measure the current table on the validation part. Everything that learning resumes from is
    written to `checkpoints/last.json`, which `fit(resume=...)` reads.

    Args:
        controller: what learns; None for a stored table.
        table: Q, (states, actions); the action with the largest value is chosen, the first of equals.
        evaluators: what measures the table.
        recipe: see `Learner`.

    Raises:
        ConfigError: no evaluator measures the monitored metric.
    """

    packages = ("mlrun", "numpy")

    def __init__(
        self, controller: Controller | None, table: np.ndarray, evaluators: list[Evaluator], recipe: dict[str, Any]
    ):
        self.controller, self.table, self.evaluators, self.recipe = controller, table, evaluators, recipe
        metric = recipe["model"].get("monitor") or MONITOR
        if metric not in self.directions:
            raise ConfigError(
                f"model.monitor={metric}: no evaluator measures it (they measure {', '.join(self.directions) or 'nothing'})"
            )
        self.monitor, self.mode = f"val/{metric}", self.directions[metric]
        self.views = make_views(recipe["model"])
        self.training = Training(parameters=int(table.size))

    @classmethod
    def from_config(cls, cfg: dict[str, Any], data: DataModule) -> ControllerLearner:
        model, observation = plain(cfg["model"]), data.features.get(OBSERVATION)
        if not isinstance(observation, Observation) or observation.num_states is None:
            fitting = ", ".join(name for name in datasets_for(["control"], {"num_states"}) if name != data.name)
            raise ConfigError(
                f"model={model.get('name')} dataset={data.name}: a table needs numbered states, which {getattr(data, 'id', data.title)} "
                f"does not have. Datasets that fit: {fitting}; or a network: dqn, ppo"
            )
        spec = {**data.spec, **ObservationEncoder(observation).spec, "seed": cfg["seed"]}
        controller = build(model["controller"], spec, "model.controller")
        recipe = {"model": model, "dataset": plain(cfg["dataset"]), **features_of(data)}
        evaluators = configured_evaluators(model, data.target)
        return cls(controller, np.array(controller.table), evaluators, recipe)

    @property
    def queries(self) -> list[Query]:
        return make_queries({"episodes": "mlrun.predictions.episodes.Episodes"})

    def fit(self, data: Any, run: Any, directory: Path, progress: Any, resume: Path | None = None) -> None:
        controller, history = self.controller, self.training.history
        controller.begin(data)
        best = self.table
        if resume is not None:
            best = self._restore(json.loads(Path(resume).read_text(encoding="utf-8")))
            send_again(history, run)
        selection = select(history, self.monitor, "max" if self.mode == "max" else "min")
        progress.start(controller.epochs, None, self.monitor, self.mode, controller.epoch)
        try:
            while controller.epoch < controller.epochs:
                metrics = {f"train/{name}": value for name, value in controller.learn_epoch().items()}
                self.table = controller.table
                measuring = [one for one in self.evaluators if one.every_epoch]
                metrics |= {f"val/{name}": value for name, value in self._measure(measuring, data, "val").items()}
                # of equals the last: its values are the most settled
                if selection.offer(controller.epoch, metrics):
                    best, self.training.best_epoch = np.array(self.table), controller.epoch
                for name, value in metrics.items():
                    history.setdefault(name, []).append((controller.epoch, value))
                run.metrics(metrics, step=controller.epoch)
                progress.epoch(controller.epoch, metrics)
                self._write_checkpoint(directory / "checkpoints", best)
        finally:
            self.table = best
            progress.stop()

    def _measure(
        self, evaluators: list[Evaluator], data: DataModule, part: str, reference_classifier: Any = None
    ) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for one in evaluators:
            one.begin(Subject(self, data, part, reference_classifier))
            metrics |= one.compute()
        return metrics

    def _write_checkpoint(self, directory: Path, best: np.ndarray) -> None:
        """Writes to another name, then renames: a run that is killed in between keeps the epoch before."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {
            "controller": self.controller.state(),
            "best": {"epoch": self.training.best_epoch, "table": best.tolist()},
            "history": self.training.history,
        }
        beside = directory / f"{LAST}.new"
        beside.write_text(json.dumps(state), encoding="utf-8")
        os.replace(beside, directory / LAST)

    def _restore(self, state: Mapping[str, Any]) -> np.ndarray:
        """Takes the content of a checkpoint. Returns the best table."""
        self.controller.restore(state["controller"])
        self.training.best_epoch = state["best"]["epoch"]
        self.training.history.update(
            {name: [(epoch, value) for epoch, value in points] for name, points in state["history"].items()}
        )
        return np.asarray(state["best"]["table"])

    def evaluate(self, data: DataModule, part: str, reference_classifier: Any = None) -> Evaluation:
        metrics = self._measure(self.evaluators, data, part, reference_classifier)
        return Evaluation(part, metrics, evaluators={type(one).__name__: one for one in self.evaluators})

    def predict(self, examples: Examples) -> ActionPredictions:
        states = np.asarray(examples[OBSERVATION]).reshape(len(examples), -1)[:, 0].astype(np.int64)
        scores = self.table[states]
        return ActionPredictions(scores.argmax(axis=1), scores)

    def _write(self, directory: Path) -> None:
        (directory / TABLE).write_text(json.dumps(self.table.tolist()), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, recipe: dict[str, Any], trust: bool = False) -> ControllerLearner:
        table = np.asarray(json.loads((directory / TABLE).read_text(encoding="utf-8")))
        return cls(None, table, configured_evaluators(recipe["model"]), recipe)
