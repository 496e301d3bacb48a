"""The values of the keys that mlrun reads, and the ranges of arguments with standard names such as `lr`."""

from __future__ import annotations

import math
from typing import Any

from mlrun.config.values import Choice, Duration, Flag, Items, Kind, Mapping, Null, Number, Text, describe, fits, shown
from mlrun.errors import ConfigError

COUNT = Number(integral=True, low=1)
POSITIVE = Number(low=0, high=math.inf, closed="neither")
NOT_NEGATIVE = Number(low=0, high=math.inf, closed="left")
BELOW_ONE = Number(low=0, high=1, closed="left")
UNIT = Number(low=0, high=1)
SEED = Number(integral=True, low=0, high=2**32 - 1)
ANY: tuple[Kind, ...] = ()

PRECISIONS = (
    "transformer-engine", "transformer-engine-float16", "16-true", "16-mixed", "bf16-true", "bf16-mixed", "32-true",
    "64-true", 16, 32, 64, "16", "32", "64", "bf16",
)  # fmt: skip

# Keys that mlrun itself reads, and the kinds of their values.
KEYS: dict[str, tuple[Kind, ...]] = {
    "seed": (SEED,),
    "data_dir": (Text(), Null()),
    "trust": (Flag(),),
    "tracking": (Mapping(),),
    "augment": (Mapping(), Null()),
    "dataset": (Mapping(),),
    "optim": (Mapping(), Null()),
    "scheduler": (Mapping(), Null()),
    "trainer": (Mapping(),),
    "model": (Mapping(),),
    "tracking.experiment": (Text(longest=250),),  # MLflow's tables have room for 256
    "tracking.run_name": (Text(), Null()),
    "augment.run": (Text(),),
    "augment.share": (NOT_NEGATIVE,),
    "trainer.max_epochs": (COUNT,),
    "trainer.min_steps": (COUNT, Null()),
    "trainer.max_steps": (COUNT, Null()),
    "trainer.keep": (Choice(("best", "last")),),
    "trainer.upload_checkpoints": (COUNT, Null()),
    "trainer.max_time": (Duration(), Mapping(), Null()),
    "trainer.accelerator": (Choice(("auto", "cpu", "gpu", "cuda", "mps", "tpu")),),
    "trainer.devices": (COUNT, Choice((-1, "auto")), Items((Number(integral=True, low=0),)), Text()),
    "trainer.num_nodes": (COUNT,),
    "trainer.threads": (COUNT, Choice(("auto",))),
    "trainer.strategy": (Text(),),
    "trainer.precision": (Choice(PRECISIONS), Null()),
    "trainer.accumulate_grad_batches": (COUNT,),
    "trainer.auto_batch": (Flag(),),
    "trainer.fast_loop": (Flag(), Choice(("auto",))),
    "trainer.gradient_clip_val": (POSITIVE, Null()),
    "trainer.gradient_clip_algorithm": (Choice(("norm", "value")), Null()),
    "trainer.l1": (NOT_NEGATIVE,),
    "trainer.l2": (NOT_NEGATIVE,),
    "trainer.penalize_bias_and_norm": (Flag(),),
    "trainer.early_stopping_patience": (COUNT, Null()),
    "trainer.compile": (Flag(), Choice(("default", "reduce-overhead", "max-autotune"))),
    "trainer.channels_last": (Flag(),),
    "trainer.matmul_precision": (Choice(("highest", "high", "medium")),),
    "trainer.profile": (Flag(),),
    "trainer.deterministic": (Flag(), Choice(("warn",))),
    "trainer.folds": (Number(integral=True, low=2), Choice(("all",))),
    "trainer.repeats": (COUNT,),
    "trainer.group": (Text(), Null()),
    "trainer.callbacks": (Mapping(),),
    "trainer.loggers": (Mapping(),),
    "trainer.fast_dev_run": (Flag(), COUNT),
    "scheduler.interval": (Choice(("step", "epoch")),),
    "scheduler.step_size": (COUNT,),  # torch would divide by it, after the first epoch
    "scheduler.T_max": (COUNT, Null()),
    "model.name": (Text(),),
    "model.family": (Text(),),
    "model.fits": (Items((Text(),)),),
    "model.max_epochs": (COUNT,),
    "model.min_steps": (COUNT, Null()),
    "model.max_steps": (COUNT, Null()),
    "model.min_image_size": (COUNT, Null()),
    "model.pixel_range": (Choice(("standardize", "unit", "symmetric", "none")),),
    "model.preprocessor": (Mapping(), Null()),
    "model.inherit_preprocessor": (Flag(),),
    "model.evaluators": (Items((Text(), Mapping())), Null()),
    "model.extra_evaluators": (Items((Text(), Mapping())),),
    "model.figures": (Items((Text(), Mapping())), Null()),
    "model.monitor": (Text(), Null()),
    "model.init_from": (Text(), Null()),
    "model.weights_policy": (Choice(("offline", "fetch")),),
    "model.init_only": (Items((Text(),)), Null()),
    "model.freeze": (Text(), Items((Text(),))),
    "model.unfreeze_every": (COUNT, Null()),
    "model.class_weight": (Choice(("balanced",)), Null()),
    "model.lr_scale": (Mapping(), Null()),
    "model.adapt": (Items((Mapping(), Text())), Null()),
    "model.keep": (Choice(("best", "last")),),
    "model.suggested_lr": (POSITIVE,),
    "model.suggested_weight_decay": (Number(low=0),),
    "model.adagrad_lr": (POSITIVE,),
    "model.suggested_batch_size": (COUNT,),
    "model.gradient_clip_val": (POSITIVE, Null()),
    "dataset.name": (Text(),),
    "dataset.problem": (Text(),),
    "dataset.facts": (Items((Text(),)),),
    "dataset.batch_size": (COUNT,),
    "dataset.num_workers": (Number(integral=True, low=0),),
    "hydra.launcher.slots": (COUNT, Choice(("auto",))),
    "hydra.launcher.threads": (COUNT, Choice(("auto",))),
    "hydra.launcher.jobs_per_gpu": (COUNT,),
    "hydra.launcher.timeout": (POSITIVE, Null()),
    "hydra.launcher.fail_fast": (Flag(),),
    "hydra.launcher.preload": (Items((Text(),)),),
    "hydra.launcher.address": (Text(), Null()),
    "hydra.launcher.cpus": (COUNT, Choice(("auto",))),
    "hydra.launcher.resources": (Mapping(),),
    "hydra.launcher.ship": (Flag(),),
    "hydra.launcher.init": (Mapping(),),
    "hydra.launcher.retries": (Number(integral=True, low=0),),
    "hydra.sweeper.max_batch_size": (Number(integral=True), Null()),
    "hydra.sweeper.params": (Mapping(), Null()),
    "hydra.sweeper.n_trials": (COUNT,),
    "hydra.sweeper.n_startup_trials": (Number(integral=True, low=0),),
    "hydra.sweeper.n_warmup_epochs": (Number(integral=True, low=0),),
    "hydra.sweeper.seed": (SEED, Null()),
    "hydra.sweeper.storage": (Text(), Null()),
    "hydra.sweeper.study_name": (Text(), Null()),
}

# Ranges of the arguments of every `_target_` below the groups in `BELOW`; whether null is permitted is up to their types.
RANGES: dict[str, Number] = {
    "lr": POSITIVE,
    "learning_rate": POSITIVE,
    "max_lr": POSITIVE,
    "momentum": BELOW_ONE,
    "betas": BELOW_ONE,
    "weight_decay": NOT_NEGATIVE,
    "eps": POSITIVE,
    "rho": UNIT,
    "dropout": BELOW_ONE,
    "label_smoothing": BELOW_ONE,
    "batch_size": COUNT,
    "max_epochs": COUNT,
    "l1": NOT_NEGATIVE,
    "l2": NOT_NEGATIVE,
    "hidden": COUNT,
    "hidden_size": COUNT,
    "num_layers": COUNT,
    "num_heads": COUNT,
    "warmup_steps": Number(integral=True, low=0),
    "warmup_epochs": NOT_NEGATIVE,
    "discount": UNIT,
    "gae_lambda": UNIT,
    "seed": SEED,
}
BELOW = ("optim", "scheduler", "trainer", "dataset", "model")

# What a YAML states about its model, dataset or scheduler; a `_target_` receives it only if it takes an argument of that name.
METADATA = frozenset(
    {"name", "family", "fits", "facts", "max_epochs", "min_steps", "max_steps", "keep", "min_image_size", "pixel_range", "problem", "interval",
     "preprocessor", "evaluators", "extra_evaluators", "figures", "monitor", "inherit_preprocessor", "init_from", "weights_policy", "init_only", "freeze", "unfreeze_every", "class_weight", "lr_scale", "adapt", "gradient_clip_val", "suggested_lr", "suggested_weight_decay", "adagrad_lr",
     "suggested_batch_size"}
)  # fmt: skip
SPLITS, SPLIT_SETTINGS = ("train", "val", "test"), ("seed", "stratify", "train_dev")
TOP = tuple(key for key in KEYS if "." not in key)
CLOSED = ("tracking", "augment", "trainer")  # groups that have no other keys
# Parts of a model without `_target_`.
PARTS = (
    "preprocessing",
    "classifier",
    "regressor",
    "clusterer",
    "decomposer",
    "detector",
    "language_model",
    "controller",
    "retriever",
    "prompting",
)
BESIDE = {"retriever": ("passages", "reader")}  # settings beside a part


def allowed(group: str) -> list[str]:
    """Names of the known keys directly below a group."""
    return [key[len(group) + 1 :] for key in KEYS if key.startswith(group + ".")]


def out_of_range(name: str, value: Any) -> str | None:
    """`must be a number > 0` if a number, or one of a list, is outside the range of this standard name; else None."""
    kind = RANGES.get(name)
    if kind is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    wrong = [n for n in numbers if isinstance(n, (int, float)) and not isinstance(n, bool) and not kind.accepts(n)]
    if not wrong:
        return None
    return f"{'each ' if isinstance(value, list) else ''}must be {kind}"


def split_problem(split: Any) -> str | None:
    """What is wrong with a split; None if nothing is.

    Its parts are fractions that sum to at most 1, or numbers of rows; 0 for no such part, null for the rest.
    """
    if split is None:
        return None
    if not isinstance(split, dict):
        return "must be a mapping such as {train: 0.6, val: 0.2, test: 0.2}"
    unknown = [str(name) for name in split if name not in SPLITS and name not in SPLIT_SETTINGS]
    if unknown:
        return f"has no part named {', '.join(unknown)}; parts are {', '.join(SPLITS)}"
    sizes = {part: split[part] for part in SPLITS if split.get(part) is not None}
    for part, size in sizes.items():
        if not Number().accepts(size):
            return f"{part} must be a fraction or a number of rows, not {size!r}"
        if size < 0:
            return f"{part} must be >= 0"
        if size > 1 and size != int(size):
            return f"{part} must be a fraction of at most 1 or a whole number of rows"
    if sizes and len([part for part in SPLITS if part in split]) == len(sizes) and not any(sizes.values()):
        return "no part has any rows"
    share = sum(size for size in sizes.values() if isinstance(size, float) and size <= 1)
    return f"the fractions sum to {share:g}; they must sum to 1" if share > 1 + 1e-9 else None


def check_settings(group: str, settings: dict[str, Any]) -> None:
    """Raises ConfigError for the settings of a launcher or sweeper that cannot be."""
    problems = [
        (f"{group}.{name}={shown(value)}", key_problem(f"{group}.{name}", value)) for name, value in settings.items()
    ]
    if any(problem for _, problem in problems):
        raise ConfigError([f"{setting}: {problem}" for setting, problem in problems if problem])


def key_problem(key: str, value: Any) -> str | None:
    """`must be ...` if a known key cannot have this value; else None."""
    kinds = KEYS.get(key, ANY)
    return None if fits(kinds, value) else f"must be {describe(kinds)}"
