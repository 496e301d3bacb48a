"""Networks: a task trained by Lightning, its best epoch kept."""

from __future__ import annotations

import csv
import logging
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from mlrun.adapt.adaptation import Adaptation
from mlrun.config.identity import lasting_identity
from mlrun.config.instantiate import fill, instantiate, plain, without_metadata
from mlrun.data.preprocess.transform import from_state
from mlrun.data.readers.trust import load_tensors
from mlrun.errors import ConfigError, UserError
from mlrun.evaluation.outcome import Outcome
from mlrun.evaluation.selection import Selection
from mlrun.predictions.learner import Learner, Training
from mlrun.report.notify import tell
from mlrun.training.adapting import Adapting, find_run
from mlrun.training.checkpoints import BEST, LAST, OURS, Checkpoints, Stopped, check_label, read
from mlrun.training.compiling import compiled
from mlrun.training.faults import (
    Diverged,
    Divergence,
    OutOfMemory,
    advice_for_divergence,
    is_out_of_memory,
    release_memory,
)
from mlrun.training.hardware import keep_freed_memory, lay_out_channels, rows_at_once, threads_for
from mlrun.training.length import Length
from mlrun.training.loaders import Loaders
from mlrun.training.optimization import Optimization
from mlrun.training.profiling import Profile
from mlrun.training.reporter import Reporter
from mlrun.training.trainer import build_trainer, refuse_automatic

log = logging.getLogger("mlrun")

WEIGHTS = "weights.pt"
TOKEN_WIDTH = 64  # a token becomes a vector of so many values or more
PREDICT_ROWS = 4096  # at most that are made ready at once when predicting
MOST_ASKERS = 4  # threads that predict at once: each needs memory for what is between the layers


class NetworkLearner(Learner):
    """A task (a LightningModule) around one or several networks."""

    packages = ("mlrun", "torch", "lightning")

    def __init__(self, task, transform, labels: list, recipe: dict, cfg: dict | None = None):
        self.task, self.transform, self.labels, self.recipe, self.cfg = task, transform, np.asarray(labels), recipe, cfg
        self.monitor, self.mode = task.monitor, task.mode
        self.training = Training(parameters=sum(parameter.numel() for parameter in task.parameters()))
        self.trainer = None

    @classmethod
    def from_config(cls, cfg, data):
        spec, transform = data.spec, data.transform
        torch.manual_seed(cfg["seed"])  # the same weights whatever was drawn before
        facts = {**spec.facts, "problem": spec.problem, "target_std": transform.target_std}
        model = fill(without_metadata(cfg["model"]), facts, "model")
        recipe = {
            "model": model,
            "dataset": plain(cfg["dataset"]),
            "labels": spec.labels,
            "transform": transform.state,
            "inputs": data.inputs,
        }
        recipe["channels_last"] = cfg["trainer"].get("channels_last", True)
        learner = cls(instantiate(model, "model"), transform, spec.labels, recipe, plain(cfg))
        settings = learner.cfg["trainer"]
        penalties = {key: settings[key] for key in ("l1", "l2", "penalize_bias_and_norm")}
        adaptation = Adaptation.from_config(learner.cfg["model"])
        done = adaptation.apply(
            learner.task,
            labels=spec.labels,
            preprocessor_state=transform.state,
            trust=bool(learner.cfg.get("trust")),
            find=find_run,
        )
        for line in done:
            tell(line)
        learner.task.adaptation = adaptation
        recipe["adaptation"] = adaptation.record()
        # a fused step would undo the gradient scaling after penalties and clipping
        fused = settings["precision"] != "16-mixed"
        learner.task.optimization = Optimization(
            learner.cfg["optim"], learner.cfg["scheduler"], **penalties, fused=fused
        )
        return learner

    def fit(self, data, run, directory, progress, resume=None):
        settings = self.cfg["trainer"]
        if not self.task.automatic_optimization:
            refuse_automatic(settings, type(self.task).__name__)
        keep_freed_memory()
        torch.set_float32_matmul_precision(settings.get("matmul_precision", "high"))
        self.task.data = data
        if settings.get("channels_last", True):
            lay_out_channels(self.task)
        layers = self._layers(data)
        if layers:
            _write_layers(layers, directory / "figures")
        work = sum(layer.multiply_adds for layer in layers) or self.training.parameters
        threads = torch.get_num_threads()
        torch.set_num_threads(
            threads_for(settings["threads"], work * getattr(data, "positions", getattr(data, "batch_size", 1)), threads)
        )
        try:
            with compiled(self.task, settings.get("compile", False)):
                fit = self._fit_with_smaller_batches if settings.get("auto_batch") else self._fit
                fit(data, run, directory, progress, resume)
        finally:
            torch.set_num_threads(threads)
        self.task.float()  # a network trained in half or double precision answers in single precision
        best = directory / "checkpoints" / BEST
        if settings["keep"] == "best" and best.is_file():
            self.task.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])
            self.training.best_epoch = None if self.selection.value is None else self.selection.epoch

    def _fit(self, data, run, directory, progress, resume, accumulate: int = 1) -> None:
        """One training, from the start or from a checkpoint. accumulate: batches in place of one, on top of what the configuration says."""
        resumed = None if resume is None else self._read(resume, data)
        reporter = Reporter(run, progress, self.monitor, directory)
        batches = {"size": getattr(data, "batch_size", None), "accumulate": accumulate}
        checkpoints, *others = self._callbacks(directory, data, reporter, resumed, batches)
        if self.cfg["trainer"].get("profile"):
            others.append(Profile(directory / "profile", run))
        self.trainer = build_trainer(
            self.cfg["trainer"], [*others, reporter, Divergence(reporter), checkpoints], directory, accumulate
        )
        try:
            self._uninterrupted(
                self.trainer.fit,
                self.task,
                datamodule=Loaders(data),
                ckpt_path=resume,
                weights_only=not self.cfg.get("trust"),
            )
        except Diverged as error:
            kept = checkpoints.folder / LAST
            raise UserError(f"{error}. {advice_for_divergence(self.cfg, kept if kept.exists() else None)}") from None
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                error, self.trainer.current_epoch + 1, batches["size"], bool(self.cfg["trainer"].get("auto_batch"))
            ) from error
        self.training.history, self.selection = reporter.history, checkpoints.selection

    def _fit_with_smaller_batches(self, data, run, directory, progress, resume) -> None:
        """Halves the batch as often as memory does not suffice, and accumulates the gradients of the halves: the update stays the same mean
        over the same rows (in a network with batch normalization, whose statistics are then of the halves, nearly so)."""
        accumulate, start = 1, {name: value.detach().clone() for name, value in self.task.state_dict().items()}
        if resume is not None:
            batches = read(resume, bool(self.cfg.get("trust")))[OURS]["batches"]
            data.batch_size, accumulate = batches["size"], batches["accumulate"]
        while True:
            try:
                return self._fit(data, run, directory, progress, resume, accumulate)
            except OutOfMemory as error:
                if data.batch_size < 2:
                    raise
                said = f"{error.what}; going on with batches of {data.batch_size // 2}, {2 * accumulate} of them for one update"
            tell(said, logging.WARNING)
            data.batch_size, accumulate = data.batch_size // 2, 2 * accumulate
            self.trainer = None
            release_memory()
            last = directory / "checkpoints" / LAST
            resume = last if last.exists() else None
            self.task.load_state_dict(start)

    def _label(self, data) -> dict:
        """What a checkpoint of this training is of."""
        names = {"model": self.cfg["model"].get("name"), "dataset": data.name}
        return {**names, "identity": lasting_identity(self.cfg), "digest": data.digest}

    def _read(self, resume: Path, data) -> dict:
        """Our part of a checkpoint. Raises UserError where training cannot go on from it."""
        content = read(resume, bool(self.cfg.get("trust")))
        check_label(content, self._label(data))
        return {**content[OURS], "path": content["path"]}

    def _callbacks(self, directory, data, reporter, resumed, batches) -> list[Callback]:
        """The checkpoints first, then what the configuration asks for."""
        settings, validates = self.cfg["trainer"], bool(data.sizes["val"])
        watched, patience = self.monitor if validates else None, settings["early_stopping_patience"]
        selection = Selection(watched, self.mode)
        callbacks = [
            Checkpoints(
                directory / "checkpoints", selection, self._label(data), reporter, patience, resumed, batches
            ),
            Length(settings["max_epochs"], settings["min_steps"], settings["max_steps"]),
        ]
        if settings["early_stopping_patience"] is not None:
            if not validates:
                raise ConfigError(
                    "trainer.early_stopping_patience watches the validation part, which is empty: set dataset.split.val."
                )
            callbacks.append(EarlyStopping(self.monitor, mode=self.mode, patience=settings["early_stopping_patience"]))
        if not validates and str((self.cfg["scheduler"] or {}).get("_target_")).endswith(".plateau"):
            raise ConfigError("scheduler=plateau watches the validation part, which is empty: set dataset.split.val.")
        if self.task.adaptation.steps:
            callbacks.append(Adapting(self.task.adaptation))
        return callbacks

    def _layers(self, data) -> list:
        """The network layer by layer; empty for tasks and inputs that are not one tensor of numbers."""
        from mlrun.networks.layers.summary import layer_table

        shape, network = data.spec.facts.get("input_shape"), getattr(self.task, "network", None)
        if shape is None or network is None:
            return []
        try:
            return layer_table(network, shape)
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            log.info("no table of layers: %s", error)
            return []

    def _uninterrupted(self, work, *arguments, **options):
        """Lightning turns Ctrl-C into SystemExit; the experiment wants to know what it was."""
        try:
            return work(*arguments, **options)
        except Stopped as stopped:
            if stopped.number == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + stopped.number) from None
        except SystemExit as end:
            if self.trainer.interrupted and end.code == 1:
                raise KeyboardInterrupt from None
            raise

    def evaluate(self, data, part):
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self.task.to(device).eval()
        loader = data.loader(part, device)
        return {} if loader is None else self.task.evaluate(loader, data)

    @property
    def outcome(self):
        found = getattr(self.task, "outcome", None)
        return found if isinstance(found, Outcome) else None

    def figures(self, data, part):
        from mlrun.report import figures

        if self.training.history:
            yield (
                "learning_curves",
                figures.learning_curves(self.training.history, self.monitor, self.mode, self.training.best_epoch),
            )
        yield from self.task.figures(data, part)

    def predict(self, x):
        return self.answers(x)[0]

    @contextmanager
    def sharing(self):
        """On the CPU several threads with a few cores each: parsing takes cores away, and those of one call would wait for each other."""
        threads = torch.get_num_threads()
        askers = min(MOST_ASKERS, threads) if self.task.device.type == "cpu" and not hasattr(self.task, "answer") else 1
        self.task.eval()
        torch.set_num_threads(threads // askers)
        try:
            yield askers
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def answers(self, x):
        self.task.eval()
        if hasattr(self.task, "answer"):  # a task that answers with something else than a label or a value per row
            return self.task.answer(x, self.transform), None
        outputs = []
        for start in range(0, len(x), PREDICT_ROWS):
            rows = torch.from_numpy(self.transform(x[start : start + PREDICT_ROWS]))
            values = max(1, rows[0].numel() * (TOKEN_WIDTH if rows.dtype == torch.int64 else 1))
            for batch in rows.split(rows_at_once(values, self.task.device)):
                outputs.append(self.task.predict_step((batch.to(self.task.device),)))
        outputs = torch.cat(outputs).float().cpu().numpy() if outputs else np.zeros((0,))
        if not self.task.predicts_targets:
            return outputs, None
        if len(self.labels):
            return (
                (self.labels[outputs.argmax(axis=1)], outputs)
                if len(outputs)
                else (self.labels[:0], np.zeros((0, len(self.labels))))
            )
        return outputs.astype(np.float64) * self.transform.target_std + self.transform.target_mean, None

    def _write(self, directory):
        torch.save(self.task.state_dict(), directory / WEIGHTS)

    @classmethod
    def load(cls, directory: Path, recipe, trust=False):
        task = instantiate(recipe["model"], "model")
        # as it was trained: another order of the sums would change the last digit
        if recipe.get("channels_last", True):
            lay_out_channels(task)
        task.load_state_dict(load_tensors(directory / WEIGHTS, trust))
        return cls(task.eval(), from_state(recipe["transform"]), recipe["labels"], recipe)


def _write_layers(layers: list, directory: Path) -> None:
    from mlrun.networks.layers.summary import Layer, as_rows, as_text

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "layers.txt").write_text(as_text(layers) + "\n", encoding="utf-8")
    with open(directory / "layers.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Layer.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(as_rows(layers))
