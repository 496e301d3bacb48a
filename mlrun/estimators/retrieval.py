"""Retrieval: documents in passages, an index over them, and optionally a reader that answers from the best ones. Nothing is trained."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.config.instantiate import plain
from mlrun.data.examples import Examples
from mlrun.data.features import Text, restore
from mlrun.data.module import DataModule
from mlrun.data.passages import Passages
from mlrun.data.preprocess.text import as_texts
from mlrun.data.rankings import RankingPredictions
from mlrun.errors import ConfigError, DataError
from mlrun.estimators.encoders import TextEncoder, load_encoder, open_encoder
from mlrun.estimators.readers import Reader, load_reader, open_reader
from mlrun.estimators.retrievers import BM25, ROWS, Dense, Fusion, Retriever
from mlrun.evaluation.evaluator import Evaluator, configured_evaluators
from mlrun.predictions.learner import Evaluation, Learner, Training, features_of
from mlrun.predictions.query import Query, make_queries
from mlrun.report.view import make_views

KINDS = ("bm25", "dense", "fusion")
DOCUMENTS, ENCODER, READER = "documents.jsonl.gz", "encoder", "reader"
DEPTH = 1000  # documents of a ranking


@dataclass
class Settings:
    """`model.retriever`: kind (bm25 | dense | fusion), encoder (weights, for the last two), k1, b and stem of BM25, constant of the fusion."""

    kind: str = "bm25"
    encoder: str | None = None
    k1: float = 1.5
    b: float = 0.75
    stem: bool = True
    constant: float = 60.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"model.retriever.kind={self.kind}: choose one of {', '.join(KINDS)}")
        if self.kind != "bm25" and not self.encoder:
            raise ConfigError(
                f"model.retriever.kind={self.kind}: needs an encoder: model.retriever.encoder=RUN (of model=text_encoder, say), or "
                "a published checkpoint: DIRECTORY, hub:NAME, package:NAME"
            )

    def make(self, encode: TextEncoder | None) -> Retriever:
        """The retriever."""
        words = BM25(self.k1, self.b, self.stem)
        if self.kind == "bm25" or encode is None:
            return words
        return Dense(encode) if self.kind == "dense" else Fusion([words, Dense(encode)], self.constant)


class RetrievalLearner(Learner):
    """Ranks documents by their best passage.

    Args:
        settings: of the retriever.
        encode: texts -> vectors; None: words alone.
        reader: answers questions from passages; None: there is none.
        evaluators, recipe: see `Learner`.
    """

    packages = ("mlrun", "numpy", "bm25s")

    def __init__(
        self,
        settings: Settings,
        encode: TextEncoder | None,
        reader: Reader | None,
        evaluators: list[Evaluator],
        recipe: dict[str, Any],
    ):
        self.encode, self.reader, self.evaluators, self.recipe = encode, reader, evaluators, recipe
        self.retriever = settings.make(encode)
        metric = recipe["model"]["monitor"]
        if metric not in self.directions:
            raise ConfigError(
                f"model.monitor={metric}: no evaluator measures it (they measure {', '.join(self.directions)})"
            )
        self.monitor, self.mode = f"val/{metric}", self.directions[metric]
        self.views, self.training = make_views(recipe["model"]), Training()
        self.names: list[str] = []
        self.texts: list[str] = []
        self.passages: Passages

    @classmethod
    def from_config(cls, cfg: dict[str, Any], data: DataModule) -> RetrievalLearner:
        cfg = plain(cfg)
        model, trust = cfg["model"], bool(cfg.get("trust"))
        settings, policy = Settings(**model["retriever"]), model.get("weights_policy") or "offline"
        encode = None
        if settings.kind != "bm25":
            encode = open_encoder(str(settings.encoder), policy, trust, "model.retriever.encoder")
        reader = open_reader(model.get("reader"), policy, trust, "model.reader")
        if not hasattr(data, "documents"):
            raise ConfigError(f"model={model.get('name')} dataset={data.name}: this dataset has no documents to search")
        recipe = {"model": model, "dataset": cfg["dataset"], **features_of(data)}
        return cls(settings, encode, reader, configured_evaluators(model, data.target), recipe)

    @property
    def queries(self) -> list[Query]:
        return make_queries({"ask": "mlrun.predictions.ask.Ask"})

    def fit(self, data: Any, run: Any, directory: Path, progress: Any, resume: Path | None = None) -> None:
        self.names = [one.name for one in data.documents]
        self.texts = [one.text for one in data.documents]
        self._divide()
        self.retriever.index(self.passages.texts)
        if data.sizes["val"]:
            for name, value in self.evaluate(data, "val").metrics.items():
                self.training.history[f"val/{name}"] = [(1, value)]

    def _divide(self) -> None:
        given = self.recipe["model"].get("passages") or {}
        self.passages = Passages.of(self.texts, given.get("words"), given.get("overlap", 0))

    def evaluate(self, data: Any, part: str, reference_classifier: Any = None) -> Evaluation:
        """See `Learner`. Raises DataError for other documents than those of the index, to which the relevant ones of the data would not refer."""
        if [one.text for one in data.documents] != self.texts:
            raise DataError(
                f"{data.title}: its {len(data.documents):,} documents are not the {len(self.texts):,} that this model has indexed; "
                "index them in a run of their own: mlrun model=rag dataset.path=FOLDER"
            )
        return super().evaluate(data, part, reference_classifier)

    def predict(self, examples: Examples) -> RankingPredictions:
        name = next(name for name, feature in self.inputs.items() if isinstance(feature, Text))
        queries = as_texts(examples[name])
        found, scores = [], []
        for start in range(0, len(queries), ROWS):
            for row in self.retriever.scores(queries[start : start + ROWS]):
                best = np.full(len(self.names), -np.inf, dtype=np.float32)
                np.maximum.at(best, self.passages.owners, row)
                order = np.argsort(-best, kind="stable")[:DEPTH]
                order = order[np.isfinite(best[order])]
                found.append(order)
                scores.append(best[order])
        return RankingPredictions(self.names, found, scores)

    def best_passages(self, query: str, count: int) -> list[tuple[str, str, float]]:
        """(name of the document, text, score) of the best passages; fewer where fewer are found."""
        scores = self.retriever.scores([query])[0]
        order = np.argsort(-scores, kind="stable")[:count]
        order = order[np.isfinite(scores[order])]
        return [(self.names[self.passages.owners[at]], self.passages.texts[at], float(scores[at])) for at in order]

    def _write(self, directory: Path) -> None:
        with gzip.open(directory / DOCUMENTS, "wt", encoding="utf-8") as file:
            for pair in zip(self.names, self.texts):
                file.write(json.dumps(pair, ensure_ascii=False) + "\n")
        self.retriever.save(directory)
        for name, one in ((ENCODER, self.encode), (READER, self.reader)):
            if one is not None:
                one.learner.save(directory / name)

    @classmethod
    def load(cls, directory: Path, recipe: dict[str, Any], trust: bool = False) -> RetrievalLearner:
        model = recipe["model"]
        encode = load_encoder(directory / ENCODER, trust) if (directory / ENCODER).is_dir() else None
        reader = load_reader(directory / READER, trust) if (directory / READER).is_dir() else None
        target = restore(next(iter(recipe["targets"].values())))
        evaluators = configured_evaluators(model, target)
        made = cls(Settings(**model["retriever"]), encode, reader, evaluators, recipe)
        with gzip.open(directory / DOCUMENTS, "rt", encoding="utf-8") as file:
            pairs: Sequence[list[str]] = [json.loads(line) for line in file]
        made.names, made.texts = [name for name, _ in pairs], [text for _, text in pairs]
        made._divide()
        made.retriever.load(directory, made.passages.texts)
        return made
