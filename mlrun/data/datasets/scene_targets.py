"""What can be predicted of scenes of digits: columns and features by problem; the last column is the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.datasets.scene_texts import KINDS, Scene, caption, question, questions
from mlrun.data.features import Answers, Boxes, Caption, Feature, Label, Labels, Mask, Questions, Text, Value

DIGITS = list("0123456789")

Columns = dict[str, tuple[Any, Feature]]


def _objects(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    return {"objects": ([{"boxes": scene.boxes, "labels": scene.labels} for scene in scenes], Boxes(DIGITS))}


def _mask(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    return {"mask": (np.stack([scene.mask for scene in scenes]), Mask(["background", *DIGITS]))}


def _labels(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    return {"labels": (np.stack([np.bincount(scene.labels, minlength=10) > 0 for scene in scenes]), Labels(DIGITS))}


def _label(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    return {"label": (np.array([scene.labels[0] for scene in scenes]), Label(list(range(10)), DIGITS))}


def _count(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    return {"count": (np.array([float(len(scene.labels)) for scene in scenes]), Value("count"))}


def _caption(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    return {"caption": (_texts([caption(scene) for scene in scenes]), Caption())}


def _one_answer(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    asked = [question(scene, random) for scene in scenes]
    answers = sorted({answer for _, answer in asked})
    given = np.array([answers.index(answer) for _, answer in asked])
    return {
        "question": (_texts([text for text, _ in asked]), Text()),
        "answer": (given, Label(answers, column="answer")),
    }


def _answers(scenes: Sequence[Scene], random: np.random.Generator) -> Columns:
    asked, answers = zip(*(questions(scene, random) for scene in scenes))
    return {"question": (_texts(asked), Questions()), "answer": (_texts(answers), Answers(kinds=list(KINDS)))}


def _texts(texts: Sequence[str]) -> np.ndarray:
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column


TARGETS: Mapping[str, Callable[[Sequence[Scene], np.random.Generator], Columns]] = {
    "detection": _objects,
    "segmentation": _mask,
    "localization": _objects,
    "multi_label": _labels,
    "classification": _label,
    "regression": _count,
    "captioning": _caption,
    "question_answering": _one_answer,
    "visual_questions": _answers,
}
