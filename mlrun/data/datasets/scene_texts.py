"""What can be said about a scene of digits: its caption, questions and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

NAMES = "zero one two three four five six seven eight nine".split()
SMALL, LARGE = 0.3, 0.4  # heights of digits, as shares of the scene's, below and above which a caption says so
LARGER = 1.25  # least ratio of the heights of the two largest, or smallest, digits for a question about them
KINDS = ("how many", "is there", "what is", "which digit", "what does")  # first words of `questions`


@dataclass
class Scene:
    """pixels (3, side, side) uint8; mask (side, side) uint8, 0 or 1 + the digit; boxes (digits, 4); labels (digits,)."""

    pixels: np.ndarray
    mask: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def caption(scene: Scene) -> str:
    """The digits of a scene from left to right, such as "a three, a small seven and a large one"."""
    order = np.argsort((scene.boxes[:, 0] + scene.boxes[:, 2]) / 2, kind="stable")
    heights = scene.boxes[:, 3] - scene.boxes[:, 1]
    side = len(scene.mask)
    words = [
        _with_article(
            f"{'small ' if height < SMALL * side else 'large ' if height > LARGE * side else ''}{NAMES[label]}"
        )
        for height, label in zip(heights[order], scene.labels[order])
    ]
    if not words:
        return "nothing"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _with_article(noun: str) -> str:
    return f"{'an' if noun == 'eight' else 'a'} {noun}"


def question(scene: Scene, random: np.random.Generator) -> tuple[str, str]:
    """A question about a scene and its answer; half of the digits that are asked for are there."""
    digit = (
        int(random.choice(scene.labels)) if len(scene.labels) and random.random() < 0.5 else int(random.integers(10))
    )
    kind = random.integers(3)
    if kind == 0:
        return f"is there {_with_article(NAMES[digit])}?", "yes" if digit in scene.labels else "no"
    if kind == 1:
        return "how many digits are there?", str(len(scene.labels))
    return f"how many times does {NAMES[digit]} occur?", str(int((scene.labels == digit).sum()))


def questions(scene: Scene, random: np.random.Generator) -> tuple[str, str]:
    """A question of each kind that suits the scene, in random order, each with one of two wordings; and their answers, separated by semicolons."""
    asked = list(_questions(scene, random))
    order = random.permutation(len(asked))
    return " ".join(asked[at][0] for at in order), "; ".join(asked[at][1] for at in order)


def _questions(scene: Scene, random: np.random.Generator) -> Iterator[tuple[str, str]]:
    def worded(*wordings: str) -> str:
        return wordings[random.integers(len(wordings))]

    labels = scene.labels
    names = [NAMES[label] for label in labels]
    yield worded("how many digits?", "how many digits are there?"), NAMES[len(labels)] if len(labels) < 10 else "many"
    present = bool(len(labels)) and random.random() < 0.5  # of all ten digits there are at most nine others
    others = np.setdiff1d(np.arange(10), labels)
    if present or len(others):
        digit = _with_article(NAMES[int(random.choice(labels if present else others))])
        yield worded(f"is there {digit}?", f"is there {digit} in the scene?"), ("no", "yes")[present]
    yield worded("what does the scene show?", "what does the image show?"), caption(scene)
    if len(labels) < 2:
        return
    order = np.argsort((scene.boxes[:, 0] + scene.boxes[:, 2]) / 2, kind="stable")
    places = [at for at, name in enumerate(names) if names.count(name) == 1]  # "the two" is one digit
    if places:
        at, left = int(random.choice(places)), random.random() < 0.5
        beside = int(np.flatnonzero(order == at)[0]) + (-1 if left else 1)
        answer = names[order[beside]] if 0 <= beside < len(order) else "nothing"
        side = "left" if left else "right"
        yield worded(f"what is {side} of the {names[at]}?", f"what is to the {side} of the {names[at]}?"), answer
    heights = scene.boxes[:, 3] - scene.boxes[:, 1]
    sizes, largest = np.argsort(-heights, kind="stable"), random.random() < 0.5
    first, second = (sizes[0], sizes[1]) if largest else (sizes[-1], sizes[-2])
    if max(heights[first], heights[second]) >= LARGER * min(heights[first], heights[second]):
        word = "largest" if largest else "smallest"
        yield worded(f"which digit is {word}?", f"which digit is the {word}?"), names[first]
