"""Files of captions: all forms give the same, and what is wrong in them is named with its line."""

from __future__ import annotations

import csv
import json

import pytest

from mlrun.data.datasets.image_captions import ImageCaptions
from mlrun.errors import DataError
from tests.vision.files import CAPTIONS, write_captions


def read(path, **options):
    data = ImageCaptions("captioning", "image_captions", 1, None, path=path, **options)
    content = data.read()
    return content.names, content.columns["caption"]


@pytest.fixture
def table(tmp_path):
    return write_captions(tmp_path)


def test_every_form_gives_the_same(table):
    root, expected = table.parent, ([f"{at}.png" for at in range(4)], CAPTIONS)
    assert read(table) == expected
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (root / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    assert read(root / "captions.jsonl") == expected
    lists = [{"file": f"{at}.png", "texts": several} for at, several in enumerate(CAPTIONS)]
    (root / "lists.jsonl").write_text("\n".join(map(json.dumps, lists)), encoding="utf-8")
    assert read(root / "lists.jsonl", columns=("file", "texts"), images="images") == expected
    coco = {
        "images": [{"id": 7 + at, "file_name": f"{at}.png"} for at in range(4)],
        "annotations": [{"image_id": 7 + at, "caption": one} for at, several in enumerate(CAPTIONS) for one in several],
    }
    (root / "coco.json").write_text(json.dumps(coco), encoding="utf-8")
    assert read(root / "coco.json", images="images") == expected
    tokens = [f"{at}.png#{n}\t{one}" for at, several in enumerate(CAPTIONS) for n, one in enumerate(several)]
    (root / "results.token").write_text("\n".join(tokens), encoding="utf-8")
    assert read(root / "results.token", images="images") == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "image,caption\nnone.png,a cat\n", "line 2: there is no image none.png"),
        ("a.csv", "image,caption\nimages/0.png,  \n", "line 2: the caption of images/0.png is empty"),
        ("a.csv", "file,caption\n", "has no column 'image'"),
        ("a.jsonl", '{"image": "images/0.png"}\n', "line 1: no object with 'image' and 'caption'"),
        ("a.jsonl", "[1, 2\n", "line 1: no object with"),
        ("a.json", "{}", "not COCO's JSON of captions"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}', "annotations[0]: lacks a caption"),
        ("a.token", "images/0.png#0\ta cat\nwrong\n", "line 2: not of the form"),
        ("a.json", '{"images": [{"id": 1, "file_name": "x"}, {"id": 1, "file_name": "y"}], "annotations": []}', "images[1] has the id 1, which another"),
        ("a.csv", "image,caption\n", "there are no captions in it"),
        ("a.csv", "image,caption\nimages/0.png,a cat, asleep\n", "line 2: the header has 2 cells, this row 3"),
        ("a.csv", "image,caption\nimages/0.png,un caf\udce9\n", "line 2: not UTF-8 text"),
        ("a.json", '{"images": [{"id": 1, "file_name": "x"}], "annotations": [{"image_id": 1, "caption": null}]}', "annotations[0]: lacks a caption"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(table, name, text, message):
    path = table.parent / name
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError) as error:
        read(path)
    assert message in str(error.value) and name in str(error.value)


def test_invalid_lines_can_be_left_out(table, capsys):
    table.write_text(table.read_text(encoding="utf-8") + "none.png,a cat\n", encoding="utf-8")
    assert read(table, skip_invalid=True)[1] == CAPTIONS
    assert "1 invalid annotation left out" in capsys.readouterr().err
