"""Prompting: a frozen language model classifies texts that a template completes to a prompt, with zero or a few examples in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.config.instantiate import plain
from mlrun.data.examples import Examples
from mlrun.data.features import Label, Text
from mlrun.data.module import DataModule
from mlrun.data.predictions import LabelPredictions
from mlrun.data.preprocess.text import as_texts
from mlrun.errors import ConfigError, UserError
from mlrun.estimators.causal_models import CausalModel, open_causal_model
from mlrun.evaluation.evaluator import Evaluator, configured_evaluators
from mlrun.predictions.learner import Learner, Training, features_of
from mlrun.report.notify import notify
from mlrun.report.view import make_views

TEXT, LABEL = "{text}", "{label}"
ANSWERS = ("likelihood", "generation")
WORDS = 12  # tokens of a generated answer
SHOWN = 60  # words of a text in a prompt, at most


@dataclass
class Settings:
    """`model.prompting`.

    Args:
        weights: of the language model: a run of gpt, or a published checkpoint (DIRECTORY, hub:NAME, package:NAME).
        template: of one text, with {text} and {label}; the label comes last.
        instruction: before everything else.
        words: class -> how the prompt names it; classes that are left out are named as in the data.
        shots: examples in a prompt, as evenly divided among the classes as possible.
        answer: "likelihood": the class whose words are most probable, per token; "generation": the class named first in a continuation.
        calibrated: divide by the probability of the words after a text without content (Zhao et al. 2021, arXiv:2102.09690).
        separator: between the examples.
        seed: by which the examples are drawn.
    """

    weights: str | None = None
    template: str = "Text: {text}\nClass: {label}"
    instruction: str = ""
    words: dict[Any, str] | None = None
    shots: int = 0
    answer: str = "likelihood"
    calibrated: bool = False
    separator: str = "\n\n"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError(
                "model.prompting.weights: give a language model: a run of gpt, or a published checkpoint: DIRECTORY, hub:NAME, package:NAME"
            )
        self.names = {str(name): str(words) for name, words in (self.words or {}).items()}
        if self.template.count(TEXT) != 1 or not self.template.rstrip().endswith(LABEL):
            raise ConfigError(f"model.prompting.template: must hold {TEXT} once and end with {LABEL}")
        if self.answer not in ANSWERS:
            raise ConfigError(f"model.prompting.answer={self.answer}: choose one of {', '.join(ANSWERS)}")
        if isinstance(self.shots, bool) or not isinstance(self.shots, int) or self.shots < 0:
            raise ConfigError(f"model.prompting.shots={self.shots}: must be a whole number of at least 0")

    def prompt(self, text: str, shots: list[tuple[str, str]]) -> str:
        """Up to the place where the label of `text` stands. shots: (text, words of its class)."""
        parts = [self.instruction] if self.instruction else []
        before, after = (
            self.template[: self.template.rindex(LABEL)],
            self.template[self.template.rindex(LABEL) + len(LABEL) :],
        )
        parts += [before.replace(TEXT, shortened(one)) + words + after for one, words in shots]
        parts.append(before.replace(TEXT, shortened(text)).rstrip(" "))
        return self.separator.join(parts)


class PromptLearner(Learner):
    """A classifier without training: the examples of its prompts are drawn from the training part.

    Args:
        settings: see `Settings`.
        model: the language model.
        label: the target.
        pool: class -> training texts that examples are drawn from.
        evaluators, recipe: see `Learner`.
    """

    packages = ("mlrun", "torch", "numpy")

    def __init__(
        self,
        settings: Settings,
        model: CausalModel,
        label: Label,
        pool: list[list[str]],
        evaluators: list[Evaluator],
        recipe: dict[str, Any],
    ):
        self.settings, self.model, self.label, self.pool = settings, model, label, pool
        self.evaluators, self.recipe = evaluators, recipe
        metric = recipe["model"]["monitor"]
        if metric not in self.directions:
            raise ConfigError(
                f"model.monitor={metric}: no evaluator measures it (they measure {', '.join(self.directions)})"
            )
        self.monitor, self.mode = f"val/{metric}", self.directions[metric]
        self.views, self.training = make_views(recipe["model"]), Training()
        self._told = False  # that a prompt is too long
        self.words = [settings.names.get(str(name), str(name)) for name in label.names]

    @classmethod
    def from_config(cls, cfg: dict[str, Any], data: DataModule) -> PromptLearner:
        cfg = plain(cfg)
        model, target = cfg["model"], data.target
        # the seed is stored with the other settings: later predictions use the same examples
        model = {**model, "prompting": {"seed": cfg["seed"], **model["prompting"]}}
        settings = Settings(**model["prompting"])
        if not isinstance(target, Label) or [type(data.features[name]) for name in data.inputs] != [Text]:
            raise ConfigError(f"model={model.get('name')} dataset={data.name}: prompting needs one text with a class")
        unknown = [name for name in settings.names if name not in map(str, target.names)]
        if unknown:
            raise ConfigError(
                f"model.prompting.words: {data.name} has no class {unknown[0]} (it has {', '.join(map(str, target.names))})"
            )
        source, policy = str(settings.weights), model.get("weights_policy") or "offline"
        language_model = open_causal_model(source, policy, bool(cfg.get("trust")), "model.prompting.weights")
        train = data.examples("train")
        texts, classes = as_texts(train[data.inputs[0]]), np.asarray(train[data.targets[0]])
        pool = [[texts[row] for row in np.flatnonzero(classes == place)[:200]] for place in range(len(target.names))]
        recipe = {"model": model, "dataset": cfg["dataset"], "pool": pool, **features_of(data)}
        return cls(settings, language_model, target, pool, configured_evaluators(model, target), recipe)

    def fit(self, data: Any, run: Any, directory: Path, progress: Any, resume: Path | None = None) -> None:
        """Nothing is trained."""

    def shots(self, count: int, seed: int) -> list[tuple[str, str]]:
        """(text, words of its class) of `count` examples in random order."""
        random = np.random.default_rng(seed)
        classes = [at for at, texts in enumerate(self.pool) if texts]
        order = [classes[at % len(classes)] for at in range(count)]
        drawn = {one: random.permutation(len(self.pool[one])) for one in classes}
        taken = [(one, order[:at].count(one)) for at, one in enumerate(order)]
        examples = [(self.pool[one][drawn[one][n % len(drawn[one])]], self.words[one]) for one, n in taken]
        return [examples[at] for at in random.permutation(count)]

    def probabilities(self, texts: list[str], shots: int, seed: int) -> np.ndarray:
        """(texts, classes) of some texts, with this many examples in the prompt."""
        examples = self.shots(shots, seed)
        prompts = [self.settings.prompt(text, examples) for text in texts]
        if self.settings.answer == "generation":
            return np.array([self._named(self.model.generate(prompt, WORDS)) for prompt in prompts])
        scores = self._scores(prompts)
        if self.settings.calibrated:
            empty = [self.settings.prompt(text, examples) for text in ("N/A", "[MASK]", "")]
            scores = scores - np.log(np.exp(self._scores(empty)).mean(0, keepdims=True))
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    def _scores(self, prompts: list[str]) -> np.ndarray:
        """(prompts, classes): mean log-probability of the tokens of each class's words."""
        pairs = [(prompt, f" {words}") for prompt in prompts for words in self.words]
        sums, counts = self.model.continuations(*zip(*pairs))
        if self.model.cut and not self._told:
            self._told = True
            notify(
                f"a prompt has {self.model.cut:,} tokens, and the model reads {self.model.limit:,}: its beginning is not read, with examples and "
                "instruction first"
            )
        return (sums / counts).reshape(len(prompts), len(self.words))

    def _named(self, continuation: str) -> np.ndarray:
        """(classes,) certainty of the class whose words come first; equal shares where none does."""
        places = [continuation.lower().find(words.lower()) for words in self.words]
        known = [place if place >= 0 else len(continuation) + 1 for place in places]
        count = len(self.words)
        if max(places) < 0:
            return np.full(count, 1 / count)
        return np.eye(count)[int(np.argmin(known))]

    def predict(self, examples: Examples) -> LabelPredictions:
        (name,) = self.inputs
        shares = self.probabilities(as_texts(examples[name]), self.settings.shots, self.settings.seed)
        return LabelPredictions(self.label.classes, shares.argmax(1), shares)

    def _write(self, directory: Path) -> None:
        """Nothing but the recipe: the weights stay where they are."""

    @classmethod
    def load(cls, directory: Path, recipe: dict[str, Any], trust: bool = False) -> PromptLearner:
        from mlrun.data.features import restore

        model = recipe["model"]
        settings = Settings(**model["prompting"])
        target = restore(next(iter(recipe["targets"].values())))
        if not isinstance(target, Label):
            raise UserError(f"{directory}: is damaged: its target is not a class")
        policy = model.get("weights_policy") or "offline"
        language_model = open_causal_model(str(settings.weights), policy, trust, "model.prompting.weights")
        return cls(settings, language_model, target, recipe["pool"], configured_evaluators(model, target), recipe)


def shortened(text: str) -> str:
    """The first SHOWN words on one line."""
    return " ".join(text.split()[:SHOWN])
