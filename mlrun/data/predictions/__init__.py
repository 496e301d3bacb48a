"""Prediction kinds: the output of models, the counterpart of the feature kinds.

A prediction object holds the predictions of many rows by column, because a file has millions of rows: `row(i)` is one prediction as JSON
types, `columns()` all of them as table columns, `answers()` the return value of `mlflow.pyfunc`.
"""

from __future__ import annotations

from mlrun.data.predictions.base import Predictions
from mlrun.data.predictions.images import (
    SURE,
    BoxesPredictions,
    MaskPredictions,
    PicturePredictions,
    PointsPredictions,
    overlap,
)
from mlrun.data.predictions.labels import LabelPredictions, LabelsPredictions
from mlrun.data.predictions.numbers import (
    ActionPredictions,
    AnomalyPredictions,
    GroupPredictions,
    ScorePredictions,
    SeveralValuesPredictions,
    ValuePredictions,
    VectorPredictions,
)
from mlrun.data.predictions.texts import AnswersPredictions, SpanPredictions, TagsPredictions, TextPredictions

__all__ = [
    "ActionPredictions",
    "AnomalyPredictions",
    "AnswersPredictions",
    "BoxesPredictions",
    "GroupPredictions",
    "LabelPredictions",
    "LabelsPredictions",
    "MaskPredictions",
    "PicturePredictions",
    "PointsPredictions",
    "Predictions",
    "SURE",
    "ScorePredictions",
    "SeveralValuesPredictions",
    "SpanPredictions",
    "TagsPredictions",
    "TextPredictions",
    "ValuePredictions",
    "VectorPredictions",
    "overlap",
]
