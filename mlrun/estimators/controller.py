"""Controllers: tables learned by acting in an environment, evaluated by the episodes that they play. Needs neither torch nor scikit-learn."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from mlrun.config.catalogue import datasets_for
from mlrun.config.instantiate import build, plain
from mlrun.data.environments.environment import Played
from mlrun.errors import ConfigError
from mlrun.predictions.learner import Learner, Training, send_again

TABLE = "q_table.json"
LAST = "last.json"


class ControllerLearner(Learner):
    """An object with `epochs`, `epoch`, `begin(environment)`, `learn_epoch() -> metrics`, `table` and `state` / `restore`.

    After each epoch the greedy policy plays the validation episodes; the best table is kept, and everything that learning
    goes on from is written to `checkpoints/last.json`, which `fit(resume=...)` reads.
    """

    monitor, mode = "val/return", "max"
    packages = ("mlrun", "numpy")

    def __init__(self, controller, table: np.ndarray, recipe: dict):
        self.controller, self.table, self.recipe = controller, table, recipe
        self.training = Training(parameters=int(table.size))

    @classmethod
    def from_config(cls, cfg, data):
        model, spec = plain(cfg["model"]), data.spec
        if "num_states" not in spec.facts:
            fitting = ", ".join(name for name in datasets_for(["control"], {"num_states"}) if name != data.name)
            raise ConfigError(
                f"model={model.get('name')} dataset={data.name}: a table needs numbered states, which {data.id} does not have. "
                f"Datasets that fit: {fitting}; or a network: dqn, ppo"
            )
        controller = build(model["controller"], {**spec.facts, "seed": cfg["seed"]}, "model.controller")
        return cls(controller, np.array(controller.table), {"model": model, "dataset": plain(cfg["dataset"])})

    def fit(self, data, run, directory, progress, resume=None):
        controller, history = self.controller, self.training.history
        controller.begin(data)
        if resume is not None:
            self._restore(json.loads(Path(resume).read_text(encoding="utf-8")))
            send_again(history, run)
        progress.start(controller.epochs, None, self.monitor, self.mode, controller.epoch)
        episodes = data.loader("val")
        try:
            while controller.epoch < controller.epochs:
                metrics = {f"train/{name}": value for name, value in controller.learn_epoch().items()}
                table, epoch = controller.table, controller.epoch
                metrics |= {f"val/{name}": value for name, value in episodes.play(Greedy(table)).metrics().items()}
                best = dict(history.get(self.monitor, ())).get(self.training.best_epoch, -np.inf)
                if metrics[self.monitor] >= best:  # the last of equals: its values are the most settled
                    self.table, self.training.best_epoch = np.array(table), epoch
                for name, value in metrics.items():
                    history.setdefault(name, []).append((epoch, value))
                run.metrics(metrics, step=epoch)
                progress.epoch(epoch, metrics)
                self._checkpoint(directory / "checkpoints")
        finally:
            progress.stop()

    def _checkpoint(self, directory: Path) -> None:
        """Writes beside, then renames: a run that is killed in between leaves the epoch before."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {
            "controller": self.controller.state(),
            "best": {"epoch": self.training.best_epoch, "table": self.table.tolist()},
            "history": self.training.history,
        }
        beside = directory / f"{LAST}.new"
        beside.write_text(json.dumps(state), encoding="utf-8")
        os.replace(beside, directory / LAST)

    def _restore(self, state: dict) -> None:
        self.controller.restore(state["controller"])
        self.table, self.training.best_epoch = np.asarray(state["best"]["table"]), state["best"]["epoch"]
        self.training.history.update(
            {name: [tuple(point) for point in points] for name, points in state["history"].items()}
        )

    def evaluate(self, data, part) -> dict[str, float]:
        self.outcome: Played = data.loader(part).play(Greedy(self.table))
        return self.outcome.metrics()

    def figures(self, data, part):
        from mlrun.report import figures
        from mlrun.report.control import control_figures

        if len(self.training.history.get(self.monitor, ())) > 1:
            yield (
                "learning_curves",
                figures.learning_curves(self.training.history, self.monitor, self.mode, self.training.best_epoch),
            )
        yield from control_figures(data, self.outcome, Greedy(self.table), table=self.table)

    def predict(self, x):
        """Actions (rows,) for states (rows,) or (rows, 1)."""
        x = np.asarray(x)
        return Greedy(self.table)(x.reshape(len(x), -1)[:, 0])

    def _write(self, directory):
        (directory / TABLE).write_text(json.dumps(self.table.tolist()), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, recipe, trust=False):
        return cls(None, np.asarray(json.loads((directory / TABLE).read_text(encoding="utf-8"))), recipe)


class Greedy:
    """The action of the highest value, the first of equals."""

    def __init__(self, table: np.ndarray):
        self.actions = table.argmax(axis=1)

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """states (rows,) -> actions (rows,)."""
        return self.actions[np.asarray(states, dtype=np.int64)]
