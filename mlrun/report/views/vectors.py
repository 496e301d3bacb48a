"""Vectors of a similarity model on two components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image, Label
from mlrun.data.module import DataModule
from mlrun.data.predictions import VectorPredictions
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner

SEED = 6  # of the classes that are drawn
ROWS = 40  # most rows of a class


class Vectors(View):
    """Of `VectorPredictions`, such as codes, of data with classes: some classes, drawn at random."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.similarity import vector_map
        from mlrun.report.style import PALETTE

        if not isinstance(data.target, Label) or not learner.inputs:
            return
        examples, predictions = evaluation.examples, evaluation.predictions
        if predictions is None:  # no evaluator needed them: those of a generative model compare samples
            examples = data.examples(evaluation.part)
            predictions = learner.predict(examples)
        if not isinstance(predictions, VectorPredictions):
            return
        labels = examples[data.targets[0]]
        classes = np.unique(labels)
        chosen = np.random.default_rng(SEED).permutation(classes)[: len(PALETTE)]
        rows = np.concatenate([np.flatnonzero(labels == one)[:ROWS] for one in chosen])
        if len(rows) < 3:
            return
        image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
        images = None if image is None else np.asarray(examples.take(rows)[image])
        yield "vectors", vector_map(predictions.values[rows], labels[rows], data.target.names, images)
