"""One experiment from configuration to result: the recipe, read from top to bottom."""

import hashlib
import json
import logging
import os
import random
import shlex
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlrun.config.instantiate import build, plain
from mlrun.errors import UserError
from mlrun.report import terminal
from mlrun.tracking.run import NullRun, Run

log = logging.getLogger("mlrun")

NEEDS_NO_TRAINER = ("optim", "scheduler", "trainer")  # groups without meaning for an estimator


@dataclass
class Result:
    """What is left of a run. `metrics` has the final "test/…" and the best epoch's "val/…"; `seconds` says where the time went."""

    model: str
    dataset: str
    directory: Path
    monitor: str = ""
    status: str = "RUNNING"
    run_id: "str | None" = None
    metrics: "dict[str, float]" = field(default_factory=dict)
    seconds: "dict[str, float]" = field(default_factory=dict)
    parameters: "int | None" = None
    best_epoch: "int | None" = None

    @property
    def objective(self) -> "float | None":
        """The watched metric, which sweeps compare."""
        return self.metrics.get(self.monitor)

    @contextmanager
    def phase(self, name: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run(cfg: DictConfig, directory: "Path | str", overrides: "list[str]" = (), parent: "str | None" = None, report=terminal) -> Result:
    """Runs one composed configuration. The MLflow run ends FINISHED, FAILED or KILLED whatever happens.

    directory: where checkpoints, figures and the model go; overrides: what the user typed; parent: MLflow run id of a sweep;
    report: who is told while it runs, `mlrun.report.terminal` or something with the same names (`mlrun.report.silent`).
    Raises what the experiment raised, after the run is closed.
    """
    cfg = plain(cfg)
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    result = Result(cfg["model"]["name"], cfg["dataset"]["name"], directory)
    tracked = _open_run(cfg, overrides, parent)
    try:
        _run(cfg, result, tracked, overrides, report)
        result.status = "FINISHED"
    except BaseException as error:
        result.status = "KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED"
        _leave_traceback(error, directory, tracked)
        raise
    finally:
        _close_run(tracked, result)
    report.result_table(result)
    return result


def _run(cfg: dict, result: Result, tracked: Run, overrides, report) -> None:
    directory = result.directory
    with result.phase("data"):
        seed_everything(cfg["seed"])
        data = build(cfg["dataset"], {"seed": cfg["seed"], "data_dir": cfg["data_dir"], "name": cfg["dataset"]["name"]}, "dataset")
        data.prepare()
        tracked.dataset(data.name, data.digest, data.source, json.dumps(data.sizes))
    with result.phase("import"):
        from mlrun.backends import make_learner

        learner = make_learner(cfg, data)
    result.monitor = learner.monitor
    tracked.check()
    report.config_summary(cfg, overrides, sizes=data.sizes, problem=data.spec.problem, directory=directory)

    with result.phase("fit"):
        learner.fit(data, tracked, directory, report.Progress())
    result.parameters, result.best_epoch = learner.training.parameters, learner.training.best_epoch
    result.metrics.update(_at_epoch(learner.training.history, result.best_epoch))
    with result.phase("evaluate"):
        part = "test" if data.sizes["test"] else "val"
        result.metrics.update({f"{part}/{name}": value for name, value in learner.evaluate(data, part).items()})
    tracked.metrics(result.metrics, step=result.best_epoch or 0)

    with result.phase("report"):
        for name, figure in learner.figures(data):
            _save_figure(figure, directory / "figures" / f"{name}.png")
        learner.save(directory / "model")
        example = data.example(part)
        tracked.model(directory / "model", example, learner.predict(example), learner.requirements(), learner.flavors())
        _write_config(cfg, overrides, result)
        for name in ("figures", "checkpoints", "config"):
            if (directory / name).is_dir():
                tracked.artifact(directory / name, name)


def seed_everything(seed: int) -> None:
    """Seeds Python, and NumPy and torch if they are there; what is imported later is seeded where it is used."""
    random.seed(seed)
    import numpy

    numpy.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def relevant(cfg: dict) -> dict:
    """The part of a configuration that decides the result: what an estimator ignores is left out, and where things are stored."""
    from mlrun.backends import is_network

    ignored = {"tracking", "data_dir"} | (set() if is_network(cfg["model"]) else set(NEEDS_NO_TRAINER))
    return {key: value for key, value in cfg.items() if key not in ignored}


def identity(cfg: dict) -> str:
    """A hash that is the same for runs that must give the same result."""
    return hashlib.sha256(json.dumps(relevant(cfg), sort_keys=True, default=str).encode()).hexdigest()[:16]


def flatten(node: Any, prefix: str = "") -> "dict[str, Any]":
    """{"optim.lr": 0.1, ...}; lists of plain values stay whole."""
    if isinstance(node, dict):
        return {key: value for name, child in node.items() for key, value in flatten(child, f"{prefix}.{name}" if prefix else str(name)).items()}
    return {prefix: node}


def _open_run(cfg: dict, overrides, parent: "str | None") -> "Run | NullRun":
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # a further process of a distributed run: the first one records
        return NullRun()
    model, dataset = cfg["model"], cfg["dataset"]
    tags = {
        "model": model["name"],
        "dataset": dataset["name"],
        "problem": dataset.get("problem"),
        "seed": cfg["seed"],
        "config_hash": identity(cfg),
        "command": shlex.join(["mlrun", *overrides]),
    }
    optim = f" {cfg['optim']['_target_'].rpartition('.')[2]}" if model.get("_target_") and cfg.get("optim") else ""
    name = cfg["tracking"]["run_name"] or f"{model['name']} {dataset['name']}{optim} seed={cfg['seed']}"
    return Run(cfg["tracking"]["experiment"], name, tags, flatten(relevant(cfg)), parent)


def _close_run(tracked: "Run | NullRun", result: Result) -> None:
    """Says how the run ended; what MLflow refused is told, not raised: the results are in the run's directory."""
    log_file = result.directory / "mlrun.log"
    if log_file.is_file():
        tracked.artifact(log_file)
    if result.status == "FINISHED":
        tracked.metrics({f"seconds/{phase}": seconds for phase, seconds in result.seconds.items()}, step=0)
    refused = tracked.close(result.status)
    try:
        result.run_id = tracked.id
    except UserError:
        pass
    if refused:
        message = f"MLflow did not take everything ({refused}). The results are in {result.directory}."
        log.error(message)
        print(f"mlrun: {message}", file=sys.stderr)


def _leave_traceback(error: BaseException, directory: Path, tracked: "Run | NullRun") -> None:
    path = directory / "error.txt"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    log.error("%s", "".join(traceback.format_exception(error)))
    tracked.tags({"error": f"{type(error).__name__}: {error}"[:500]})
    tracked.artifact(path)


def _write_config(cfg: dict, overrides, result: Result) -> None:
    folder = result.directory / "config"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(cfg)), encoding="utf-8")
    (folder / "overrides.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(list(overrides))), encoding="utf-8")
    (result.directory / "metrics.json").write_text(json.dumps(result.metrics, indent=2), encoding="utf-8")


def _save_figure(figure, path: Path) -> None:
    from mlrun.report.figures import save

    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)


def _at_epoch(history: dict, epoch: "int | None") -> "dict[str, float]":
    """The metrics of the epoch that was kept, the last one if none was chosen."""
    return {name: dict(points).get(epoch, points[-1][1]) for name, points in history.items() if not name.startswith("lr")}
