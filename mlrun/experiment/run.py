"""One experiment from configuration to result: the recipe, read from top to bottom."""

from __future__ import annotations

import json
import logging
import math
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from mlrun.config.catalogue import OTHER, find
from mlrun.config.identity import identity, is_network, parameters
from mlrun.config.instantiate import build, plain
from mlrun.config.overrides import as_command
from mlrun.config.passwords import masked
from mlrun.data.readers.trust import has_signature_line, with_signature_line
from mlrun.errors import ConfigError, Pruned, UserError
from mlrun.experiment.description import describe
from mlrun.experiment.processes import is_follower, knows_others
from mlrun.experiment.result import Result, draw, log_model, seed_everything
from mlrun.experiment.state import RunState
from mlrun.report import terminal
from mlrun.report.notify import notify
from mlrun.report.terminal import by_split
from mlrun.report.view import figures
from mlrun.tracking.delivery import Unreachable
from mlrun.tracking.directions import KIND, REJECTED, WALL, as_tag
from mlrun.tracking.recorder import KEY
from mlrun.tracking.run import NullRun, Run
from mlrun.tracking.run_directory import LOCK_SECONDS, locked, write_atomically

if TYPE_CHECKING:
    from mlrun.data.examples import Examples
    from mlrun.predictions.learner import Learner

log = logging.getLogger("mlrun")


def run(
    config: DictConfig | dict[str, Any],
    directory: Path | str,
    overrides: Sequence[str] = (),
    parent: str | None = None,
    report: Any = terminal,
    run_id: str | None = None,
    on_open: Callable[[str], None] | None = None,
    resume: Path | None = None,
    is_locked: bool = False,
    name: str | None = None,
    kind: str | None = None,
) -> Result:
    """Runs one composed configuration. The MLflow run always ends FINISHED, FAILED or KILLED.

    Args:
        config: the composed configuration.
        directory: the run's directory, for checkpoints, figures and the model.
        overrides: the command line's.
        parent: MLflow run id of a sweep.
        report: shows progress: `mlrun.report.terminal`, or a module with the same functions such as `mlrun.report.silent`.
        run_id: MLflow run of an earlier attempt, which this one continues.
        on_open: called with the MLflow run id from another thread once the run is open.
        resume: checkpoint of an earlier attempt, from which training resumes.
        is_locked: whether the caller holds the lock of the directory.
        name: of the MLflow run, unless the configuration has one; None: model, dataset, optimizer and seed.
        kind: of a run that is not an experiment of the user, such as a reference classifier; leaderboards leave it out.

    Raises:
        ConfigError: it is to train on several machines, and nothing has started it on them.
        BaseException: whatever the experiment raised, after the run is closed.
    """
    cfg: dict[str, Any] = plain(config)
    if (nodes := cfg["trainer"].get("num_nodes", 1)) > 1 and is_network(cfg["model"]) and not knows_others():
        raise ConfigError(
            f"trainer.num_nodes={nodes}: start this command on each machine with torchrun or srun, "
            "or let a Ray cluster do that: mlrun -m hydra/launcher=ray hydra.launcher.address=…"
        )
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    result = Result(cfg["model"]["name"], cfg["dataset"]["name"], directory, name=cfg["tracking"]["run_name"] or name)
    log.info("mlrun %s: %s", version("mlrun"), as_command(overrides))
    if is_follower():
        _attempt(cfg, result, NullRun(), overrides, report, resume)
        return result
    continues = resume is not None or run_id is not None
    with nullcontext() if is_locked else locked(directory, LOCK_SECONDS if continues else 0):
        record = RunState(directory)
        earlier = record.inherited(identity(cfg), continues)
        write_config(cfg, overrides, directory)  # first, so that a run with a record can always be resumed
        record.begin(identity(cfg), earlier)

        def opened(run_id: str) -> None:
            record.update(run_id=run_id)
            if on_open:
                on_open(run_id)

        tracked = _open_run(cfg, overrides, parent, record, run_id, opened, result.name, kind)
        try:
            _attempt(cfg, result, tracked, overrides, report, resume)
        finally:
            _close_run(tracked, result)
            record.update(status=result.status)
    report.result_table(result)
    return result


def _attempt(
    cfg: dict[str, Any],
    result: Result,
    tracked: Run | NullRun,
    overrides: Sequence[str],
    report: Any,
    resume: Path | None,
) -> None:
    """Executes an open run and sets its status."""
    directory = result.directory
    try:
        tracked.artifact(directory / "config", "config")
        (directory / "error.txt").unlink(missing_ok=True)  # of an earlier attempt
        _run(cfg, result, tracked, overrides, report, resume)
        result.status = "FINISHED"
        tracked.tags({"mlflow.note.content": describe(result, overrides, _about_model(cfg))})
    except BaseException as error:
        result.status = "KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit, Pruned)) else "FAILED"
        _leave_traceback(error, directory, tracked)
        if isinstance(error, UserError) and not result.began:
            tracked.tags({REJECTED: "the run never began: its data or configuration were rejected"})
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and not isinstance(tracked, NullRun):
            print(
                f"mlrun: to resume this run: mlrun resume {shlex.quote(terminal.short_path(directory))}",
                file=sys.stderr,
            )
        raise


def _about_model(cfg: dict[str, Any]) -> str:
    """The first line of the model's YAML; empty for a run whose file is not here."""
    entry = find("model", cfg["model"]["name"])
    return entry.summary if entry else ""


def _run(
    cfg: dict[str, Any],
    result: Result,
    tracked: Run | NullRun,
    overrides: Sequence[str],
    report: Any,
    resume: Path | None,
) -> None:
    directory = result.directory
    report.doing("reading the data …")
    with result.phase("data"):
        seed_everything(cfg["seed"])
        data = build(
            cfg["dataset"],
            {"seed": cfg["seed"], "data_dir": cfg["data_dir"], "name": cfg["dataset"]["name"]},
            "dataset",
        )
        data.prepare()
        if getattr(data, "teacher", None):
            from mlrun.experiment.distillation import distil

            distil(data, cfg)
        if data.display_name != result.dataset:
            result.dataset = data.display_name
            tracked.tags({"dataset": result.dataset, "mlflow.runName": result.name or _run_name(cfg, result.dataset)})
        if data.problem != cfg["dataset"].get("problem"):  # found out from the target
            tracked.tags({"problem": data.problem})
            known = parameters(cfg, cfg["dataset"].get("problem"))  # a resumed run may not change them
            tracked.params({key: value for key, value in parameters(cfg, data.problem).items() if key not in known})
        result.about, sizes = list(data.summary), data.sizes
        tracked.dataset(data.display_name, data.digest, data.source, json.dumps(sizes))
        if cfg.get("augment"):
            from mlrun.experiment.generated import extend

            report.doing("generating images …")
            added, line = extend(data, cfg, directory, tracked, resumes=resume is not None)
            sizes = {f"train + {added:,} generated" if part == "train" else part: rows for part, rows in sizes.items()}
            result.about.append(line)
    if cfg["trainer"].get("folds"):
        from mlrun.experiment.crossvalidation import cross_validate

        whole = cast(Run, tracked)  # cross-validation refuses further processes
        cross_validate(cfg, data, result, whole, report, overrides)
        warn_below_baseline(result, "cv", bool(cfg["model"].get("class_weight")), tracked)
        return _record_metrics(result, whole)
    with result.phase("import"):
        report.doing("importing torch …" if is_network(cfg["model"]) else "importing scikit-learn …")
        from mlrun.evaluation.classification import recalled_classes
        from mlrun.experiment.reference_classifier import reference_for
        from mlrun.predictions.learner import make_learner

        learner = make_learner(cfg, data)
    result.monitor, result.mode, result.loss_name = learner.monitor, learner.mode, learner.loss_name
    result.classes = recalled_classes(data.target)
    tracked.check()
    report.config_summary(
        cfg,
        overrides,
        sizes=sizes,
        problem=data.problem,
        directory=directory,
        dataset=data.display_name,
        about=result.about,
    )
    tracked.tags(as_tag(learner.directions))
    result.began = True

    with result.phase("fit"):
        learner.fit(data, tracked, directory, report.Progress(), resume)
    if isinstance(tracked, NullRun):
        return  # the first process of the distributed run evaluates and writes
    result.parameters, result.best_epoch = learner.training.parameters, learner.training.best_epoch
    result.reported_epoch = learner.training.reported_epoch
    result.metrics.update(_at_epoch(learner.training.history, result.best_epoch))
    with result.phase("evaluate"):
        if data.sizes["val"] and data.sizes["test"]:
            for name, value in learner.validate(data).items():
                result.metrics.setdefault(f"val/{name}", value)
        part = next((part for part in ("test", "val", "train") if data.sizes[part]), "test")
        evaluation = learner.evaluate(data, part, reference_for(cfg, data, run, tracked))
        result.metrics.update({f"{part}/{name}": value for name, value in evaluation.metrics.items()})
    _warn_of_undefined(result, is_network(cfg["model"]), tracked)
    warn_below_baseline(result, part, bool(cfg["model"].get("class_weight")), tracked)
    _record_metrics(result, tracked)

    with result.phase("report"):
        learner.save(directory / "model")
        if learner.inputs:
            sample = data.sample(part)
            result.predict_ms = _milliseconds_per_row(learner, sample)
            tracked.metrics({"predict_ms": result.predict_ms}, step=0)
            log_model(tracked, learner, directory / "model", sample)
        draw(figures(learner, data, evaluation), directory / "figures")
        for name in ("figures", "checkpoints"):
            if (directory / name).is_dir():
                tracked.artifact(directory / name, name)


def _milliseconds_per_row(learner: Learner, sample: Examples) -> float:
    """Median time to predict a single row, the latency of a service. Takes about a tenth of a second at most."""
    times: list[float] = []
    row, end = sample.take(slice(0, 1)), time.perf_counter() + 0.1
    while len(times) < 20 and (len(times) < 3 or time.perf_counter() < end):
        start = time.perf_counter()
        learner.predict(row)
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def _record_metrics(result: Result, tracked: Run) -> None:
    # MLflow shows metrics in this order: the result first, the recall of each of many classes last
    splits, names = by_split(result.metrics)
    keys = [f"{split}/{name}" if split else name for split in splits for name in names if name in splits[split]]
    keys.sort(key=lambda key: key.rpartition("/")[2] in result.classes)
    tracked.metrics({key: result.metrics[key] for key in keys}, step=result.reported_epoch)
    if result.best_epoch is not None:  # MLflow shows the last value of val/…, which is that of the last epoch
        best = {f"best_{name}": value for name, value in result.metrics.items() if name.startswith("val/")}
        tracked.metrics({"best_epoch": result.best_epoch, **best}, step=result.best_epoch)
    log.info("result: %s", ", ".join(f"{name} {value:.6g}" for name, value in result.metrics.items()))
    if result.parameters is not None:
        tracked.metrics({"parameters": result.parameters})  # runs can be sorted by a metric only
    summary = {"monitor": result.monitor, "mode": result.mode, "parameters": result.parameters}
    tracked.tags({name: value for name, value in summary.items() if value is not None})
    _write_metrics(result)


def _open_run(
    cfg: dict[str, Any],
    overrides: Sequence[str],
    parent: str | None,
    record: RunState,
    run_id: str | None,
    on_open: Callable[[str], None],
    name: str | None,
    kind: str | None,
) -> Run:
    model, dataset = cfg["model"], cfg["dataset"]
    tags = {
        "model": model["name"],
        "dataset": dataset["name"],
        "family": model.get("family") or OTHER,
        "problem": dataset.get("problem"),
        "seed": cfg["seed"],
        "config_hash": identity(cfg),
        "command": as_command(overrides),
        "directory": record.path.parent,
        KEY: record.key,
    }
    if kind:
        tags[KIND] = kind
    name = name or _run_name(cfg, dataset["name"])
    return Run(
        cfg["tracking"]["experiment"],
        name,
        tags,
        parameters(cfg, dataset.get("problem")),
        parent,
        run_id,
        on_open,
        record.path.parent,
    )


def _run_name(cfg: dict[str, Any], dataset: str) -> str:
    model = cfg["model"]
    optim = f" {cfg['optim']['_target_'].rpartition('.')[2]}" if model.get("_target_") and cfg.get("optim") else ""
    return f"{model['name']} {dataset}{optim} seed={cfg['seed']}"


def _close_run(tracked: Run, result: Result) -> None:
    """Closes the MLflow run with its status. Errors of MLflow are reported, not raised: the results are in the run's directory."""
    log_file = result.directory / "mlrun.log"
    if log_file.is_file():
        tracked.artifact(log_file)
    if result.status == "FINISHED":
        tracked.metrics({f"{WALL}{phase}": seconds for phase, seconds in result.seconds.items()}, step=0)
    with result.phase("log"):  # waits until MLflow has received everything
        refused = tracked.close(result.status) or result.refused
    if refused:
        result.recorded = False
        kept = f"To send the rest later: mlrun sync {shlex.quote(terminal.short_path(result.directory))}"
        if isinstance(refused, Unreachable):
            message = f"MLflow does not answer ({refused}). The results are in {result.directory}. {kept}"
        else:
            message = f"MLflow did not accept everything ({refused}). The results are in {result.directory}. {kept}"
        notify(message, logging.ERROR)
    try:
        result.run_id = tracked.id
    except UserError:
        pass


def _leave_traceback(error: BaseException, directory: Path, tracked: Run | NullRun) -> None:
    path = directory / "error.txt"
    path.write_text(masked("".join(traceback.format_exception(error))), encoding="utf-8")
    log.error("%s", "".join(traceback.format_exception(error)))
    tracked.tags({"error": f"{type(error).__name__}: {error}"[:500]})
    tracked.artifact(path)


def write_config(cfg: dict[str, Any], overrides: Sequence[str], directory: Path) -> None:
    """Writes the configuration of a run, and what was typed for it, into its directory."""
    folder = directory / "config"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
    path, text = folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(cfg))
    # that of somebody else stays without a signature: consent is for one call
    ours = not path.exists() or has_signature_line(path.read_text(encoding="utf-8"))
    write_atomically(path, with_signature_line(text) if ours else text)


def _write_metrics(result: Result) -> None:
    # JSON has no NaN
    finite = {name: value if math.isfinite(value) else None for name, value in result.metrics.items()}
    (result.directory / "metrics.json").write_text(json.dumps(finite, indent=2), encoding="utf-8")


def _warn_of_undefined(result: Result, by_steps: bool, tracked: Run | NullRun) -> None:
    """Warns if the watched metric is not a number. by_steps: whether the model was trained by gradient descent, which can diverge."""
    watched = result.metrics.get(result.monitor)
    if watched is not None and not math.isfinite(watched):
        losses = [value for name, value in result.metrics.items() if name in ("train/loss", "train/log_loss")]
        diverged = by_steps and (not losses or not all(map(math.isfinite, losses)))
        if diverged:
            message = f"{result.monitor} is {watched}: training diverged. Try a smaller optim.lr, or trainer.gradient_clip_val=1."
        elif by_steps:
            message = (
                f"{result.monitor} is {watched}, although the training loss is finite: it cannot be measured on the validation part, which may have "
                "no object, or a single class. The smallest validation loss chose the epoch. Enlarge dataset.split.val, or try another dataset.split.seed."
            )
        else:
            message = (
                f"{result.monitor} is {watched}: it cannot be measured on the validation part, whose rows may be of a single class or in a single "
                "cluster. Change the settings of the model, enlarge dataset.split.val, or try another dataset.split.seed."
            )
        log.warning(message)
        print(f"mlrun: warning: {message}", file=sys.stderr)
        if diverged:
            tracked.tags({"diverged": "true"})


def warn_below_baseline(result: Result, part: str, weighted: bool, tracked: Run | NullRun) -> None:
    """Warns if the model is no better than a prediction that ignores the input.

    Args:
        part: of the metrics that are compared.
        weighted: whether the classes had weights. The model then trades accuracy for recall, and the mean recall is compared with chance.
    """
    recalls = [value for name, value in result.metrics.items() if name.startswith(f"{part}/recall_")]
    recalls = [value for value in recalls if math.isfinite(value)]
    accuracy, rmse, r2 = (result.metrics.get(f"{part}/{name}") for name in ("accuracy", "rmse", "r2"))
    constant, mean = (result.metrics.get(f"{part}/baseline_{name}") for name in ("accuracy", "rmse"))
    if weighted and recalls:
        balanced = sum(recalls) / len(recalls)
        if balanced > 1 / len(recalls):
            return
        message = f"the mean recall of the classes, {balanced:.4g}, is not better than chance"
    elif accuracy is not None and constant is not None and accuracy <= constant:
        message = f"{part}/accuracy {accuracy:.4g} is not better than always predicting the most frequent class ({constant:.4g})"
        message += ". Look at the recall of each class; weights help rare classes: model.class_weight=balanced"
    elif rmse is not None and mean is not None and rmse >= mean:
        message = f"{part}/rmse {rmse:.4g} is not better than always predicting the mean ({mean:.4g})"
    elif rmse is None and r2 is not None and r2 <= 0:
        message = f"{part}/r2 {r2:.4g}: the model is not better than always predicting the means"
    else:
        return
    notify(f"warning: {message}", logging.WARNING)
    tracked.tags({"beats_baseline": "false"})


def _at_epoch(history: Mapping[str, Sequence[tuple[int, float]]], epoch: int | None) -> dict[str, float]:
    """The metrics of the selected epoch, or of the last one if none was selected."""
    return {
        name: dict(points).get(epoch, points[-1][1]) for name, points in history.items() if not name.startswith("lr")
    }
