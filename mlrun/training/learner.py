"""Networks: a task trained by Lightning, its best epoch kept."""

from __future__ import annotations

import copy
import csv
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping

from mlrun.adapt.adaptation import Adaptation
from mlrun.adapt.vocabulary import source_preprocessor
from mlrun.config.identity import flatten, lasting_identity, relevant
from mlrun.config.instantiate import fill, instantiate, plain, without_metadata
from mlrun.data.batches import Batch, Column, columns_of, gather
from mlrun.data.class_weights import class_weights
from mlrun.data.examples import Examples
from mlrun.data.module import DataModule
from mlrun.data.predictions import Predictions
from mlrun.data.preprocess.preprocessor import Preprocessor, make_preprocessor
from mlrun.data.preprocess.preprocessor import load as load_preprocessor
from mlrun.data.readers.tensors import WEIGHTS, load_tensors, write_tensors
from mlrun.data.row_data import sequence_lengths
from mlrun.errors import ConfigError, DataError, UserError
from mlrun.evaluation.evaluator import Evaluator, Subject, configured_evaluators, directions
from mlrun.evaluation.selection import Selection
from mlrun.networks.layers.lora import merged_state
from mlrun.predictions.learner import Evaluation, Learner, Training, features_of
from mlrun.predictions.query import Query, make_queries
from mlrun.report.notify import notify
from mlrun.report.view import make_views, title
from mlrun.tasks.task import Task
from mlrun.tasks.validation import Validation, as_arrays
from mlrun.training.adapting import Adapting, find_run
from mlrun.training.checkpoints import BEST, LAST, OURS, Checkpoints, Stopped, check_label, read
from mlrun.training.compiling import compiled
from mlrun.training.faults import (
    Diverged,
    Divergence,
    OutOfMemory,
    advice_for_divergence,
    advice_for_normalization,
    is_out_of_memory,
    release_memory,
)
from mlrun.training.hardware import keep_freed_memory, lay_out_channels, rows_at_once, threads_for
from mlrun.training.length import Length
from mlrun.training.loaders import Loaders
from mlrun.training.optimization import Optimization
from mlrun.training.profiling import Profile
from mlrun.training.reporter import Reporter
from mlrun.training.sharded import SHARDED
from mlrun.training.trainer import build_trainer, refuse_automatic

log = logging.getLogger("mlrun")

ADAPTER = "adapter.safetensors"  # the trained tensors alone, of a training of few parameters
TOKEN_WIDTH = 64  # a token becomes a vector of so many values or more
PREDICT_ROWS = 4096  # at most that are made ready at once when predicting
MOST_THREADS = 4  # that predict at once: each needs memory for what is between the layers
KEPT = (
    "name",
    "evaluators",
    "extra_evaluators",
    "figures",
    "monitor",
)  # keys of a model's YAML that are not arguments of its task, but that a stored model needs


class NetworkLearner(Learner):
    """A task (a LightningModule) around one or several networks, and the preprocessor that feeds it."""

    packages = ("mlrun", "torch", "lightning")

    def __init__(
        self,
        task: Task,
        preprocessor: Preprocessor,
        evaluators: list[Evaluator],
        recipe: dict[str, Any],
        cfg: dict[str, Any] | None = None,
    ):
        self.task, self.preprocessor, self.evaluators, self.recipe, self.cfg = (
            task,
            preprocessor,
            evaluators,
            recipe,
            cfg,
        )
        task.preprocessor = preprocessor
        metric = recipe["model"].get("monitor") or task.monitor
        task.monitor = metric
        if metric not in self.directions:
            raise ConfigError(
                f"model.monitor={metric}: it must be a metric of the task or its evaluators that ranks models: {', '.join(self.directions)}"
            )
        self.monitor, self.mode = f"val/{metric}", self.directions[metric]
        self.views = make_views(recipe["model"])
        self.training = Training(parameters=sum(parameter.numel() for parameter in task.parameters()))
        self.trainer: Trainer | None = None

    @property
    def directions(self) -> dict[str, str]:
        return directions(self.task.metrics, *(evaluator.metrics for evaluator in self.evaluators))

    @property
    def loss_name(self) -> str | None:
        return self.task.loss_name

    @property
    def queries(self) -> list[Query]:
        return make_queries(self.task.queries)

    @property
    def open_set(self) -> bool:
        return self.task.open_set

    @classmethod
    def from_config(cls, cfg: dict[str, Any], data: DataModule) -> NetworkLearner:
        cfg = plain(cfg)
        settings, own = cfg["trainer"], cfg["model"]
        if settings["strategy"] == SHARDED and settings.get("auto_batch"):
            raise ConfigError(
                "trainer.auto_batch=true: does not work with trainer.strategy=fsdp; use trainer.strategy=ddp"
            )
        adaptation = Adaptation.from_config(own)
        preprocessor = make_preprocessor(own.get("preprocessor"), data)
        policy = own.get("weights_policy") or "offline"
        for source in adaptation.sources:
            theirs = source_preprocessor(source, find_run, trust=bool(cfg.get("trust")), weights_policy=policy)
            taken = preprocessor.inherit(theirs) if theirs and own.get("inherit_preprocessor", True) else []
            if taken:
                notify(f"the preprocessing of {', '.join(taken)} is that of {source}")
        torch.manual_seed(cfg["seed"])  # the same weights whatever was drawn before
        model = fill(without_metadata(own), {**data.spec, **preprocessor.spec}, "model")
        recipe = {
            "model": model | {key: own[key] for key in KEPT if own.get(key) is not None},
            "dataset": cfg["dataset"],
            "digest": data.digest,
            "preprocessor": preprocessor.state,
            **features_of(data),
            "channels_last": settings.get("channels_last", True),
        }
        task = instantiate(model, "model")
        if own.get("class_weight"):
            task.weigh_classes(class_weights(data).tolist())
        learner = cls(task, preprocessor, configured_evaluators(own, data.target), recipe, cfg)
        for line in adaptation.apply(
            task,
            labels=getattr(data.target, "classes", []),
            preprocessor_state=preprocessor.state,
            trust=bool(cfg.get("trust")),
            find=find_run,
            weights_policy=policy,
        ):
            notify(line)
        task.adaptation = adaptation
        task.adapted()
        task.strict_loading = not adaptation.stores_adapter
        recipe["adaptation"] = adaptation.record()
        penalties = {key: settings[key] for key in ("l1", "l2", "penalize_bias_and_norm")}
        # a fused step would undo the gradient scaling after penalties and clipping; torch has none for divided parameters (for SGD, on any device)
        fused = settings["precision"] != "16-mixed" and settings["strategy"] != SHARDED
        task.optimization = Optimization(cfg["optim"], cfg["scheduler"], **penalties, fused=fused)
        return learner

    def fit(self, data: DataModule, run: Any, directory: Path, progress: Any, resume: Path | None = None) -> None:
        settings = self.cfg["trainer"]
        if not self.task.automatic_optimization:
            refuse_automatic(settings, type(self.task).__name__)
        for line in self.task.doubts(settings["max_epochs"]):
            notify(line, logging.WARNING)
        keep_freed_memory()
        torch.set_float32_matmul_precision(settings.get("matmul_precision", "high"))
        if settings.get("channels_last", True):
            lay_out_channels(self.task)
        whole = copy.deepcopy(self.task) if settings["strategy"] == SHARDED else None
        self.task.data = data
        measuring = [one for one in self.evaluators if one.every_epoch]
        if measuring:
            self.task.validation = Validation(self.task, measuring, Subject(self, data, "val", in_training=True))
        layers = self._layers(data)
        if layers and self._image_network is None:
            _write_layers(layers, directory / "figures")
        work = sum(layer.multiply_adds for layer in layers) or self.training.parameters
        threads = torch.get_num_threads()
        torch.set_num_threads(threads_for(settings["threads"], work * data.items_per_batch, threads))
        try:
            with compiled(self.task, settings.get("compile", False)):
                fit = self._fit_with_smaller_batches if settings.get("auto_batch") else self._fit
                fit(data, run, directory, progress, resume)
        finally:
            torch.set_num_threads(threads)
        if whole is not None:
            self._assemble(whole)
        self.task.float()  # a network trained in half or double precision answers in single precision
        best = directory / "checkpoints" / BEST
        if settings["keep"] == "best" and best.is_file():
            weights = torch.load(best, weights_only=True, map_location="cpu")["state_dict"]
            self.task.load_state_dict(weights, strict=self.task.strict_loading)
            self.training.best_epoch = None if self.selection.value is None else self.selection.epoch

    def _assemble(self, whole: Task) -> None:
        """Puts a whole network, with the weights of all processes, in the place of the sharded one. whole: as before the training."""
        state = self.trainer.strategy.lightning_module_state_dict()
        if state:  # in the first process
            whole.load_state_dict(state)
        whole.preprocessor, self.task = self.preprocessor, whole

    def _fit(self, data, run, directory, progress, resume, accumulate: int = 1) -> None:
        """One training, from the start or from a checkpoint. accumulate: batches in place of one, on top of what the configuration says."""
        resumed = None if resume is None else self._read(resume, data)
        settings = flatten(relevant(self.cfg))
        about = title(self.recipe["model"], data)
        reporter = Reporter(run, progress, self.monitor, self.mode, self.views, directory, about, settings)
        batches = {"size": getattr(data, "batch_size", None), "accumulate": accumulate}
        checkpoints, others = self._callbacks(directory, data, run, reporter, resumed, batches)
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
            starts = kept.exists() and not self.task.adaptation.stores_adapter  # which holds a part of the network only
            raise UserError(f"{error}. {advice_for_divergence(self.cfg, kept if starts else None)}") from None
        except Exception as error:
            advice = advice_for_normalization(error)
            if advice is not None:
                raise UserError(advice) from None
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
                said = f"{error.what}; continuing with batches of {data.batch_size // 2}, {2 * accumulate} of them accumulated per update"
            notify(said, logging.WARNING)
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

    def _callbacks(self, directory, data, run, reporter, resumed, batches) -> tuple[Checkpoints, list[Callback]]:
        """(checkpoints, the other callbacks that the configuration requests)."""
        settings, validates = self.cfg["trainer"], bool(data.sizes["val"])
        watched, patience = self.monitor if validates else None, settings["early_stopping_patience"]
        selection = Selection(watched, self.mode)
        every = settings.get("upload_checkpoints")  # the configuration of an older run has none
        checkpoints = Checkpoints(
            directory / "checkpoints", selection, self._label(data), reporter, patience, resumed, batches,
            upload=partial(run.artifact, folder="checkpoints") if every else None, upload_every=every or 1,
        )  # fmt: skip
        callbacks: list[Callback] = [Length(settings["max_epochs"], settings["min_steps"], settings["max_steps"])]
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
        return checkpoints, callbacks

    @property
    def _image_network(self) -> torch.nn.Module | None:
        """The part of a network of images and texts that takes only the image."""
        return getattr(getattr(self.task, "network", None), "image_network", None)

    def _layers(self, data: DataModule) -> list:
        """The network layer by layer, or only its part for images; empty for other tasks, and for inputs that are not one tensor of numbers."""
        from mlrun.networks.layers.summary import layer_table

        shape, part = self.preprocessor.spec.get("input_shape"), self._image_network
        network = getattr(self.task, "network", None) if part is None else part
        if shape is None or network is None or len(data.inputs) > 1 and part is None:
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

    def evaluate(self, data: DataModule, part: str, reference_classifier: Any = None) -> Evaluation:
        return self._evaluate(data, part, self.evaluators, reference_classifier)

    def validate(self, data: DataModule) -> dict[str, float]:
        late = [one for one in self.evaluators if one.of_chosen_epoch and not one.every_epoch]
        return self._evaluate(data, "val", late).metrics if late else {}

    @torch.inference_mode()
    def _evaluate(
        self, data: DataModule, part: str, evaluators: list[Evaluator], reference_classifier: Any = None
    ) -> Evaluation:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self.task.to(device).eval()
        self.task.data = data
        loader = self.task.loader(data, part, device, (0, 1))
        if loader is None:
            return Evaluation(part, {})
        measuring = Validation(self.task, evaluators, Subject(self, data, part, reference_classifier))
        measuring.begin()
        rows, found = [], []
        for batch in loader:
            predictions = measuring.update(batch)
            if predictions is not None:
                rows.append(batch.rows)
                found.append(predictions)
        evaluation = Evaluation(part, measuring.compute(), evaluators={type(one).__name__: one for one in evaluators})
        if found:
            order = torch.argsort(torch.cat(rows)).numpy()
            evaluation.examples = data.examples(part)
            evaluation.predictions = found[0].concatenate(found[1:]).take(order)
        return evaluation

    @contextmanager
    def sharing(self) -> Iterator[int]:
        """On the CPU several threads with a few cores each: parsing takes cores away, and those of one call would wait for each other."""
        threads = torch.get_num_threads()
        sharing = min(MOST_THREADS, threads) if self.task.device.type == "cpu" and self.task.is_thread_safe else 1
        self.task.eval()
        torch.set_num_threads(threads // sharing)
        try:
            yield sharing
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def predict(self, examples: Examples) -> Predictions:
        if self.task.training:  # walking through all modules takes as long as a small network
            self.task.eval()
        if len(examples):
            return self._predict_all(examples)
        try:
            return self._predict_all(examples)
        except Exception as error:  # detectors, for example, do not take an empty batch
            raise DataError("there are no rows") from error

    def _predict_all(self, examples: Examples) -> Predictions:
        found: list[Predictions] = []
        for start in range(0, max(len(examples), 1), PREDICT_ROWS):
            some = examples.take(slice(start, start + PREDICT_ROWS))
            encoded = self.preprocessor.encode(some)
            lengths = sequence_lengths(encoded)
            if lengths is not None and len(some) > 1:  # rows of similar length together: less padding
                order = lengths.argsort(stable=True)
                answers = self._predict(columns_of(encoded, self.task.device), some, order)
                found.append(answers.take(order.argsort().numpy()))
            else:
                found.append(self._predict(columns_of(encoded, self.task.device), some, None))
        return found[0].concatenate(found[1:])

    def _predict(self, columns: list[Column], examples: Examples, order: torch.Tensor | None) -> Predictions:
        """Of all rows, in this order; None: as they are."""
        found: list[Predictions] = []
        size = self._rows_at_once(gather(columns, slice(0, 1))) if len(examples) else 1
        for at in range(0, max(len(examples), 1), size):
            rows = slice(at, at + size)
            if order is None:
                batch, chosen = gather(columns, rows), examples.take(rows)
            else:
                batch = gather(columns, order[rows], order[rows].to(self.task.device))
                chosen = examples.take(order[rows].numpy())
            found.append(self.preprocessor.decode(as_arrays(self.task.predict(batch)), chosen))
        return found[0].concatenate(found[1:])

    def _rows_at_once(self, row: Batch) -> int:
        if self.task.prediction_rows is not None:
            return self.task.prediction_rows
        first = next(iter(row.values()))
        width = TOKEN_WIDTH if isinstance(first, torch.Tensor) and first.dtype == torch.int64 else 1
        return rows_at_once(max(1, width * getattr(first, "numel", lambda: 1)()), self.task.device)

    def _write(self, directory: Path) -> None:
        write_tensors(merged_state(self.task), directory / WEIGHTS)
        if self.task.adaptation.stores_adapter:
            write_tensors(self.task.adaptation.adapter_state(self.task), directory / ADAPTER)

    @classmethod
    def load(cls, directory: Path, recipe: dict[str, Any], trust: bool = False) -> NetworkLearner:
        model = recipe["model"]
        task = instantiate(without_metadata(model), "model")
        # as it was trained: another order of the sums would change the last digit
        if recipe.get("channels_last", True):
            lay_out_channels(task)
        task.load_state_dict(load_tensors(directory / WEIGHTS, trust))
        preprocessor = load_preprocessor(recipe["preprocessor"])
        target = next(iter(preprocessor.targets.values()), None)
        return cls(task.eval(), preprocessor, configured_evaluators(model, target), recipe)


def _write_layers(layers: list, directory: Path) -> None:
    from mlrun.networks.layers.summary import Layer, as_rows, as_text

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "layers.txt").write_text(as_text(layers) + "\n", encoding="utf-8")
    with open(directory / "layers.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Layer.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(as_rows(layers))
