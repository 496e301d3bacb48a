"""Evaluator of tags: entities that are found exactly, as the program `conlleval` and the library seqeval count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.features import Feature, Tags
from mlrun.data.predictions import TagsPredictions
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

CONTINUES, ENDS = ("I", "E", "L"), ("E", "L", "S", "U")  # of BIOES: end, single; of BILOU: last, unit


class TaggingEvaluator(Evaluator):
    """`precision`, `recall` and `f1` of entities, in which the first and last word and the class must be right, and `accuracy` of the tags.

    Tags are those of IOB1, IOB2, BIOES or BILOU, with a class or, where no tag has one, alone. Other tags are entities of one word each.
    """

    metrics = {
        "f1": Better.LARGER,
        "precision": Better.LARGER,
        "recall": Better.LARGER,
        "accuracy": Better.LARGER,
    }

    def suits(self, target: Feature | None) -> bool:
        return isinstance(target, Tags)

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._name = subject.data.targets[0]
        self._right, self._found, self._true = 0, 0, 0
        self._tags_right, self._tags = 0, 0

    def update(self, batch: Mapping[str, Any], examples: Any, predictions: TagsPredictions) -> None:
        classes = _with_class(predictions.classes)
        for found, true in zip(predictions.tags, examples[self._name]):
            mine, theirs = (set(entities([classes[tag] for tag in tags])) for tags in (found, true))
            self._right += len(mine & theirs)
            self._found += len(mine)
            self._true += len(theirs)
            self._tags_right += int((np.asarray(found) == np.asarray(true)).sum())
            self._tags += len(true)

    def compute(self) -> dict[str, float]:
        precision, recall = self._right / max(1, self._found), self._right / max(1, self._true)
        return {
            "f1": 2 * self._right / max(1, self._found + self._true),
            "precision": precision,
            "recall": recall,
            "accuracy": self._tags_right / max(1, self._tags),
        }


def _with_class(tags: Sequence[str]) -> list[str]:
    """The tags; those of a single class, such as B, I and O, with a name of it."""
    bare = set(tags) <= {"O", "B", *CONTINUES, *ENDS}
    return [f"{tag}-entity" if bare and tag != "O" else tag for tag in tags]


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(class, first word, the word after the last) of the entities in the tags of one text.

    An entity begins at B-, S- and U-, and at another tag whose predecessor is O, of another class or the end of an entity (`conlleval`'s
    reading of IOB2, and seqeval's of BIOES).
    """
    found: list[tuple[str, int, int]] = []
    kind, start, is_open = "", 0, False
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        name = name or ("" if tag == "O" else tag)
        continues = is_open and prefix in CONTINUES and name == kind
        if kind and not continues:
            found.append((kind, start, place))
        if not continues:
            kind, start = ("" if tag == "O" else name), place
        is_open = prefix not in ENDS
    return found
