"""Scenes of digits and drawn faces: no digit in two parts, targets that agree with the pixels, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlrun.data.datasets.digit_scenes import DigitScenes
from mlrun.data.datasets.landmarks_synthetic import NAMES, SyntheticFaces
from mlrun.data.datasets.scene_texts import KINDS, Scene, caption, question, questions
from mlrun.errors import DataError

SPLIT = {"train": 0.6, "val": 0.2, "test": 0.2}


def scenes(problem="detection", seed=1, **options):
    data = DigitScenes(problem, "digit_scenes", seed, None, **{"split": SPLIT, "scenes": 60, **options})
    data.prepare()
    return data


def test_a_digit_is_in_scenes_of_one_part_only(monkeypatch):
    drawn: list[set[int]] = []
    own = DigitScenes._draw

    def recorded(self, pixels, classes, textures, random):
        drawn.append({hash(one.tobytes()) for one in pixels})
        return own(self, pixels, classes, textures, random)

    monkeypatch.setattr(DigitScenes, "_draw", recorded)
    data = scenes()
    parts = [set.union(*(drawn[row] for row in data.rows(part))) for part in ("train", "val", "test")]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert len(set.union(*parts)) > 1700
    whole = scenes(split={"train": 0, "val": 0, "test": None})  # as `mlrun evaluate` makes them
    assert len(whole.rows("test")) == 60 and drawn[-1] == drawn[data.rows("test")[0]]


def test_targets_agree_with_each_other():
    boxes, masks = (scenes(problem).content.columns for problem in ("detection", "segmentation"))
    labels, counts = (scenes(problem).content.columns for problem in ("multi_label", "regression"))
    assert np.array_equal(boxes["image"], masks["image"])
    for row, objects in enumerate(boxes["objects"]):
        mask = masks["mask"][row]
        assert set(np.unique(mask)) - {0} == set(objects["labels"] + 1)
        assert np.array_equal(np.flatnonzero(labels["labels"][row]), np.unique(objects["labels"]))
        assert counts["count"][row] == len(objects["labels"])
        for (left, top, right, bottom), label in zip(objects["boxes"].astype(int), objects["labels"]):
            inside = mask[top:bottom, left:right] == label + 1
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_scenes_with_one_digit_and_settings():
    one = scenes("localization").content.columns["objects"]
    assert all(len(objects["labels"]) == 1 for objects in one)
    label = scenes("classification").content.columns["label"]
    assert np.array_equal(label, [objects["labels"][0] for objects in one])
    many = scenes(count=[5, 7], size=[8, 12]).content.columns["objects"]
    assert np.mean([len(objects["labels"]) for objects in many]) > 4
    assert max((objects["boxes"][:, 2:] - objects["boxes"][:, :2]).max() for objects in many) <= 12
    two = scenes(size=[[8, 10], [30, 32]], overlap=0, clutter=0).content.columns["objects"]
    heights = np.concatenate([objects["boxes"][:, 3] - objects["boxes"][:, 1] for objects in two])
    assert (heights <= 10).any() and (heights >= 26).any() and not ((heights > 10) & (heights < 26)).any()
    assert scenes().digest == scenes().digest != scenes(seed=2).digest


def test_digits_stand_out_from_the_texture():
    content = scenes("segmentation", clutter=0).content.columns
    inside = content["mask"] > 0
    grey = content["image"].astype(float).mean(1)
    contrast = [abs(image[own].mean() - image[~own].mean()) for image, own in zip(grey, inside)]
    assert np.median(contrast) > 30


def test_captions_and_questions():
    mask = np.zeros((64, 64), np.uint8)
    boxes = np.array([[40, 0, 50, 30], [2, 0, 8, 10], [20, 0, 30, 20]], np.float32)
    scene = Scene(np.zeros((3, 64, 64), np.uint8), mask, boxes, np.array([1, 7, 3]))
    assert caption(scene) == "a small seven, a three and a large one"
    assert caption(replace(scene, labels=np.array([8, 8, 8]))) == "a small eight, an eight and a large eight"
    asked = dict(question(scene, np.random.default_rng(at)) for at in range(60))
    assert asked["how many digits are there?"] == "3" and asked["is there a seven?"] == "yes"
    assert {answer for text, answer in asked.items() if text.startswith("is there a two")} <= {"no"}
    data = scenes("question_answering")
    assert list(data.inputs) == ["image", "question"] and data.target.classes == sorted(data.target.classes)
    assert scenes("captioning").content.columns["caption"][0].startswith("a")


def test_several_questions_and_their_answers():
    boxes = np.array([[40, 0, 50, 30], [2, 0, 8, 10], [20, 0, 30, 20]], np.float32)
    scene = Scene(np.zeros((3, 64, 64), np.uint8), np.zeros((64, 64), np.uint8), boxes, np.array([1, 7, 7]))
    asked: dict[str, set[str]] = {}
    for at in range(80):
        texts, answers = (part.split(mark) for part, mark in zip(questions(scene, np.random.default_rng(at)), "?;"))
        assert len(answers) == 5 and sorted(" ".join(text.split()[:2]) for text in texts[:-1]) == sorted(KINDS)
        for text, answer in zip(texts, answers):
            asked.setdefault(text.strip(), set()).add(answer.strip())
    right = {
        "how many digits are there": "three",
        "is there a seven": "yes",
        "is there an eight": "no",
        "what is left of the one": "seven",
        "what is to the right of the one": "nothing",
        "which digit is largest": "one",
        "which digit is the smallest": "seven",
        "what does the scene show": "a small seven, a seven and a large one",
    }
    assert right == {text: next(iter(asked[text])) for text in right}
    assert all(len(answers) == 1 for answers in asked.values())  # each question has one answer
    assert not any(text.endswith("of the seven") for text in asked)  # there are two
    nothing = Scene(scene.pixels, scene.mask, boxes[:0], scene.labels[:0])
    texts, answers = questions(nothing, np.random.default_rng(0))
    assert texts.count("?") == 3 and sorted(answers.split("; ")) == ["no", "nothing", "zero"]
    several = [scenes("visual_questions", seed=seed).content.columns for seed in (1, 1, 2)]
    assert list(several[0]["question"]) == list(several[1]["question"]) != list(several[2]["question"])
    shares = [[one.startswith("is there") for one in text.split("? ")] for text in several[0]["question"]]
    answers = [text.split("; ")[asked.index(True)] for text, asked in zip(several[0]["answer"], shares)]
    assert 15 <= answers.count("yes") <= 45 and answers.count("yes") + answers.count("no") == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"problem": "translation"}, "dataset.problem=translation: choose one of detection"),
        ({"size": [30, 14]}, r"dataset.size=\[30, 14\]"),
        ({"count": [1, 99]}, r"dataset.count=\[1, 99\]"),
        ({"digits": "roman"}, "dataset.digits=roman"),
        ({"image_size": [1, 2, 3]}, "dataset.image_size"),
    ],
)
def test_settings_that_cannot_be_used(options, message):
    with pytest.raises(DataError, match=message):
        scenes(**options)


def test_points_lie_on_the_faces():
    data = SyntheticFaces("landmarks", "faces", 1, rows=40, split=SPLIT, noise=0.0)
    data.prepare()
    columns = data.content.columns
    assert columns["image"].shape == (40, 1, 64, 64) and columns["points"].shape == (40, len(NAMES), 2)
    assert (columns["points"] > 0).mean() > 0.97 and (columns["points"] < 64).mean() > 0.97
    darker = 0
    for image, points in zip(columns["image"][:, 0].astype(float), columns["points"]):
        eye = points[NAMES.index("left_eye")].astype(int)
        beside = (points[NAMES.index("left_eye")] * 0.5 + points[NAMES.index("mouth_left")] * 0.5).astype(int)
        darker += image[eye[1], eye[0]] < image[beside[1], beside[0]]  # a pupil is darker than a cheek
    assert darker > 30
    assert data.target.mirrored[NAMES.index("left_eye")] == NAMES.index("right_eye")
    assert data.target.mirrored[NAMES.index("chin")] == NAMES.index("chin")
