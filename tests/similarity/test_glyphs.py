"""Glyphs and splits by class: no character in two parts, look-alikes in one class, the same picture for the same seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mlrun.data.datasets.glyphs import GlyphNames, Glyphs, rendered
from mlrun.data.datasets.image_folder import ImageFolder
from mlrun.errors import DataError

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
SPLIT = {"train": 0.6, "val": 0.2, "test": 0.2}


def glyphs(seed=1, problem="similarity", kind=Glyphs, **options):
    data = kind(problem, "glyphs", seed, **{"split": SPLIT, "scripts": ["LATIN", "GREEK"], "min_fonts": 8, **options})
    data.prepare()
    return data


@pytest.fixture(scope="module")
def data():
    return glyphs()


def parts(data):
    labels = data.content.columns["label"]
    return {part: set(labels[data.rows(part)].tolist()) for part in ("train", "val", "test")}


def test_no_character_is_in_two_parts(data):
    classes = parts(data)
    assert not classes["train"] & classes["val"] and not classes["train"] & classes["test"]
    assert not classes["val"] & classes["test"]
    count = len(data.target.classes)
    assert [len(classes[part]) for part in classes] == pytest.approx([0.6 * count, 0.2 * count, 0.2 * count], abs=1)
    assert sum(data.sizes.values()) == len(data.content)


def test_a_name_is_a_caption_and_in_one_part_only():
    data = glyphs(problem="captioning", kind=GlyphNames, scripts=["LATIN"], decomposed=True)
    names = {part: set(data.examples(part)["caption"]) for part in ("train", "val", "test")}
    assert not names["train"] & names["test"] and not names["val"] & (names["train"] | names["test"])
    words = {word for name in names["train"] for word in name.split()}
    unseen = [name for name in names["test"] if set(name.split()) <= words]
    assert len(unseen) > 0.8 * len(names["test"]) > 30
    name, caption = data.content.names[0].partition(",")[0], data.content.columns["caption"][0]
    assert caption == name.lower() == "latin capital letter a"


def test_characters_that_look_the_same_are_one_class(data):
    rows = {}
    for name, label in zip(data.content.names, data.content.columns["label"]):
        rows.setdefault(name.partition(",")[0], set()).add(int(label))
    assert all(len(labels) == 1 for labels in rows.values())
    for one, other in (
        ("LATIN CAPITAL LETTER A", "GREEK CAPITAL LETTER ALPHA"),
        ("LATIN CAPITAL LETTER C", "LATIN SMALL LETTER C"),
        ("LATIN CAPITAL LETTER N", "LATIN LETTER SMALL CAPITAL N"),
        ("LATIN SMALL LETTER O", "GREEK SMALL LETTER OMICRON"),
    ):
        assert rows[one] == rows[other]
    for one, other in (
        ("LATIN CAPITAL LETTER A", "LATIN CAPITAL LETTER B"),
        ("LATIN CAPITAL LETTER H", "GREEK CAPITAL LETTER PI"),
        ("LATIN SMALL LETTER B", "LATIN SMALL LETTER D"),
    ):
        assert rows[one] != rows[other]
    label = data.target
    place = label.classes.index("A")
    assert rows["LATIN CAPITAL LETTER A"] == {place} and label.names[place] == "LATIN CAPITAL LETTER A"


def test_the_seed_draws_the_images():
    few = {"scripts": ["GREEK"], "characters": 12}
    one, same, other = glyphs(**few), glyphs(**few), glyphs(2, **few)
    assert one.digest == same.digest != other.digest
    pixels = one.content.columns["image"]
    assert pixels.shape[1:] == (1, 28, 28) and pixels.dtype == np.uint8
    assert (pixels.reshape(len(pixels), -1).max(1) > 200).all()  # each has ink, none is cut away
    assert len(one.target.classes) == 12
    assert len(glyphs(draws=2, **few).content) == 2 * len(pixels)


def test_as_a_classification_set_every_part_has_every_class():
    classes = parts(glyphs(problem="classification", scripts=["GREEK"], characters=12))
    assert classes["train"] == classes["val"] == classes["test"]


def test_a_folder_of_fonts_replaces_those_of_matplotlib(tmp_path):
    for name in ("DejaVuSans", "DejaVuSerif"):
        shutil.copy(FONTS / f"{name}.ttf", tmp_path)
    data = glyphs(fonts=tmp_path, min_fonts=2, scripts=["ARMENIAN"])
    assert {name.rpartition(", ")[2] for name in data.content.names} == {"DejaVuSans", "DejaVuSerif"}
    with pytest.raises(DataError, match="there are no fonts"):
        glyphs(fonts=tmp_path / "nothing")
    (tmp_path / "broken.ttf").write_text("no font")
    with pytest.raises(DataError, match=r"broken\.ttf: not a font"):
        glyphs(fonts=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"characters": 10_000}, "dataset.characters=10000: there are"),
        ({"scripts": ["KLINGON"]}, "at least two are needed"),
        ({"size": [0.9, 0.2]}, "dataset.size"),
        ({"draws": 0}, "dataset.draws=0"),
    ],
)
def test_settings_that_cannot_be_used(options, message):
    with pytest.raises(DataError, match=message):
        glyphs(**options)


def test_a_font_without_outlines_is_named(tmp_path):
    (tmp_path / "a.ttf").write_text("no font")
    with pytest.raises(DataError, match=r"a\.ttf: not a font of outlines"):
        list(rendered(tmp_path / "a.ttf", "A"))


def write_people(folder, names, photos=4):
    for name in names:
        (folder / name).mkdir(parents=True)
        for at in range(photos):
            Image.fromarray(np.full((8, 8, 3), 20 * at, np.uint8)).save(folder / name / f"{at}.png")


def test_any_folder_of_classes_can_be_split_by_class(tmp_path):
    write_people(tmp_path, "abcdefghij")
    data = ImageFolder(tmp_path, "similarity", "people", 1, side=8, split=SPLIT)
    classes = parts(data)
    assert [len(classes[part]) for part in classes] == [6, 2, 2] and len(set.union(*classes.values())) == 10
    again = ImageFolder(tmp_path, "similarity", "people", 1, side=8, split={"train": None, "val": 3, "test": 3})
    assert [len(found) for found in parts(again).values()] == [4, 3, 3]


def test_folders_of_parts_may_not_share_a_class(tmp_path):
    write_people(tmp_path / "train", "abcdef")
    write_people(tmp_path / "test", "gh")
    data = ImageFolder(tmp_path, "similarity", "people", 1, side=8, split=SPLIT)
    classes = parts(data)
    assert classes["test"] == {6, 7} and classes["val"] and not classes["train"] & classes["val"]
    write_people(tmp_path / "test", "a")
    with pytest.raises(DataError, match="class a is in both (train|val) and test"):
        ImageFolder(tmp_path, "similarity", "people", 1, side=8, split=SPLIT).prepare()
