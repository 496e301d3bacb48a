"""Readers of annotated images: the same objects in VOC, COCO and YOLO files, masks, points; what is damaged is named with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrun.data.datasets.coco import CocoImages
from mlrun.data.datasets.keypoints import Keypoints
from mlrun.data.datasets.labelled_images import LabelledImages
from mlrun.data.datasets.mask_folders import MaskFolders
from mlrun.data.datasets.style_images import StyleImages
from mlrun.data.datasets.voc import VocFolder
from mlrun.data.datasets.yolo_folder import YoloFolder
from mlrun.data.preprocess.preprocessor import make_preprocessor
from mlrun.data.run_lengths import run_lengths
from mlrun.errors import DataError
from tests.conftest import SHARED_DATA
from tests.vision.files import (
    OBJECTS,
    SIZES,
    points_of_coco,
    write_coco,
    write_images,
    write_labels,
    write_masks,
    write_points,
    write_voc,
    write_yolo,
)

SPLIT = {"train": 0.5, "val": 0.25, "test": 0.25}


def read(kind, options, problem="detection", **more):
    data = kind(problem, "own", 1, None, **{"split": SPLIT, **options, **more})
    data.prepare()
    return data


FORMATS = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo}


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_boxes(name, tmp_path):
    data = read(*FORMATS[name](tmp_path))
    assert data.target.classes == ["cat", "dog"] and sum(data.sizes.values()) == 4
    for image, found, expected in zip(data.content.columns["image"], data.content.columns["objects"], OBJECTS):
        assert image.shape[0] == 3
        boxes = sorted(zip(found["labels"].tolist(), found["boxes"].round(3).tolist()))
        assert boxes == sorted((("cat", "dog").index(name), [float(side) for side in box]) for name, box in expected)
    dogs = read(*FORMATS[name](tmp_path / "again"), classes=["dog"])
    assert [len(one["labels"]) for one in dogs.content.columns["objects"]] == [1, 1, 0, 0]


def test_boxes_in_pixels_of_the_frame_and_back(tmp_path):
    data = read(*write_voc(tmp_path), image_size=[48, 64])
    made = make_preprocessor({"num_anchors": 2}, data)
    examples = data.examples("train")
    batch = made.encode(examples)
    assert batch["pixel_values"].shape == (2, 3, 48, 64)
    outputs = {
        "boxes": batch["boxes"],
        "labels": batch["labels"],
        "scores": [np.ones(len(one)) for one in batch["labels"]],
    }
    for found, truth in zip(made.decode(outputs, examples).boxes, examples["objects"]):
        np.testing.assert_allclose(found, truth["boxes"], atol=1e-3)
    for image, boxes, original in zip(examples["image"], batch["boxes"], examples["objects"]):
        scale = min(48 / image.shape[1], 64 / image.shape[2])
        np.testing.assert_allclose(boxes, original["boxes"] * scale, rtol=1e-5)


def also(made, change):
    """Files, with a further change."""
    change()
    return made


def test_colours_are_grey_for_a_network_of_grey_images(tmp_path):
    kind, options = write_voc(tmp_path)
    grey, coloured = (read(kind, options, image_size=[48, 64], grey=grey) for grey in (True, False))
    for own, other in ((grey, coloured), (coloured, grey)):
        made = make_preprocessor({"num_anchors": 2}, own)
        expected, found = (made.encode(data.examples("train"))["pixel_values"] for data in (own, other))
        np.testing.assert_allclose(found, expected)


def broken_voc(root, change):
    write_voc(root)
    path = root / "Annotations" / "0.xml"
    path.write_text(change(path.read_text()))
    return VocFolder, {"path": root}


def broken_yolo(root, line):
    write_yolo(root)
    (root / "labels" / "1.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    return YoloFolder, {"path": root}


def broken_coco(root, change):
    write_coco(root)
    text = (root / "all.json").read_text()
    (root / "all.json").write_text(change(text))
    return CocoImages, {"path": root / "all.json"}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: broken_voc(root, lambda text: text[:200]), r"0\.xml, line 11: not a complete XML file"),
        (lambda root: broken_voc(root, lambda text: ""), r"0\.xml, line 1: not a complete XML file"),
        (lambda root: broken_voc(root, lambda text: text.replace("<xmin>6", "<xmin>six")), r"0\.xml, line 7: <xmin> is 'six6?', not"),
        (lambda root: broken_voc(root, lambda text: text.replace("<xmax>25", "<xmax>5")), r"0\.xml, line 6: the box 5, 4, 5, 14 has no area"),
        (lambda root: broken_voc(root, lambda text: text.replace("<name>dog</name>", "")), r"0\.xml, line 10: <object> has no <name>"),
        (lambda root: broken_yolo(root, "1 0.5 0.5 0.2"), r"1\.txt, line 2: '1 0.5 0.5 0.2' is not a class and four numbers"),
        (lambda root: broken_yolo(root, "9 0.5 0.5 0.2 0.2"), r"1\.txt, line 2: class 9, but there are 2 names"),
        (lambda root: broken_yolo(root, "1 5 5 0.2 0.2"), r"1\.txt, line 2: the box .* lies outside the image of 30 x 30"),
        (lambda root: broken_coco(root, lambda text: text[:-40]), r"all\.json, line 1: not a complete JSON file"),
        (lambda root: broken_coco(root, lambda text: text.replace('"bbox": [5, 4, 20, 10]', '"bbox": [5, 4]')), r"annotations\[0\]: bbox must be 4 numbers"),
        (lambda root: broken_coco(root, lambda text: text.replace('"category_id": 7', '"category_id": 8')), r"annotations\[1\]: there is no category with the id 8"),
        (lambda root: broken_coco(root, lambda text: "[]"), "the file holds a list"),
        (lambda root: broken_coco(root, lambda text: text.replace('"id": 11', '"id": 10')), r"images\[1\] has the id 10, which another one has too"),
        (lambda root: broken_coco(root, lambda text: text.replace('"id": 3,', '"id": 7,')), r"categories\[1\] has the id 7, which another"),
        (lambda root: also(write_coco(root), lambda: (root / "images").rename(root / "pictures")), r"none of its 4 images is where it says, such as .*images/0\.png"),
        (lambda root: broken_coco(root, lambda text: text.replace("1.png", "0.png").replace('"height": 30, "width": 30', '"height": 40, "width": 60')), r"0\.png: this image occurs more than once"),
        (lambda root: broken_coco(root, lambda text: text.replace("3.png", "9.png")), r"9\.png: not an image that can be read"),
        (lambda root: broken_coco(root, lambda text: text.replace('"height": 40, "width": 60', '"height": 80, "width": 120')), r"0\.png: an image of 40 x 60, but its annotations are for one of 80 x 120"),
        (lambda root: broken_coco(root, lambda text: text.replace('"height": 40', '"height": []')), r"image 10: height and width must be numbers"),
        (lambda root: broken_coco(root, lambda text: text.replace('"0.png"', "null")), r"images\[0\]: file_name must be a text"),
        (lambda root: broken_yolo(root, "-1 0.5 0.5 0.2 0.2"), r"1\.txt, line 2: class -1; classes are counted from 0"),
        (lambda root: also(broken_yolo(root, ""), lambda: (root / "labels" / "9.txt").write_text("")), r"9\.txt: there is no image of this name"),
        (lambda root: also(broken_yolo(root, ""), lambda: (root / "labels" / "1.txt").write_bytes(b"\xe9")), r"1\.txt, line 1: not UTF-8"),
        (lambda root: also(broken_yolo(root, ""), lambda: (root / "classes.txt").write_text("cat\n\ndog\n")), r"classes\.txt, line 2: a class without a name"),
        (lambda root: also(write_voc(root), lambda: (root / "JPEGImages" / "3.png").unlink()), r"3\.xml: there is no image 3"),
        (lambda root: also(write_voc(root), lambda: (root / "JPEGImages" / "3.png").write_text("no")), r"3\.png: not an image that can be read"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_named_with_its_place(write, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(*write(tmp_path))


def test_invalid_annotations_can_be_left_out(tmp_path, capsys):
    kind, options = broken_voc(tmp_path, lambda text: text.replace("<xmax>25", "<xmax>5"))
    data = read(kind, options, skip_invalid=True)
    assert len(data.content.columns["objects"][0]["labels"]) == 1
    assert "1 invalid annotation left out" in capsys.readouterr().err


def test_lists_of_voc_define_the_parts(tmp_path):
    write_voc(tmp_path)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n3\n1\n")
    (lists / "test.txt").write_text("2\n")
    data = read(VocFolder, {"path": tmp_path})
    names = data.content.names
    assert [names[row] for row in data.rows("test")] == ["2.png"] and len(data.rows("val")) == 1
    (lists / "test.txt").write_text("2\n3 -1\n")
    with pytest.raises(DataError, match=r"test\.txt, line 2: 3 is already in train\.txt"):
        read(VocFolder, {"path": tmp_path})
    (lists / "test.txt").write_text("2\n9\n")
    with pytest.raises(DataError, match=r"test\.txt, line 2: there is no image 9"):
        read(VocFolder, {"path": tmp_path})


def test_objects_marked_as_difficult(tmp_path):
    kind, options = broken_voc(
        tmp_path, lambda text: text.replace("<name>dog</name>", "<name>dog</name><difficult>1</difficult>")
    )
    found = read(kind, options).content.columns["objects"][0]
    assert found["labels"].tolist() == [0] and found["ignored_boxes"].tolist() == [list(OBJECTS[0][1][1])]
    assert len(read(kind, options, difficult=True).content.columns["objects"][0]["labels"]) == 2


def test_images_that_cannot_be_read_can_be_left_out(tmp_path, capsys):
    kind, options = write_coco(tmp_path)
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    data = read(kind, options, skip_invalid=True, split={"train": 1, "val": 1, "test": 1})
    assert data.content.names == ["0.png", "2.png", "3.png"]
    assert [len(one["labels"]) for one in data.content.columns["objects"]] == [2, 0, 1]
    assert "1 invalid annotation left out" in capsys.readouterr().err


def test_a_class_that_is_a_number(tmp_path):
    _, options = write_yolo(tmp_path)
    (tmp_path / "classes.txt").unlink()
    assert read(YoloFolder, options, classes=[1]).target.classes == ["1"]


def test_crowds_are_no_objects(tmp_path):
    kind, options = broken_coco(tmp_path, lambda text: text.replace('"iscrowd": 0', '"iscrowd": 1', 1))
    found = read(kind, options).content.columns["objects"][0]
    assert found["labels"].tolist() == [1] and found["ignored_labels"].tolist() == [0]
    assert found["ignored_boxes"].tolist() == [list(OBJECTS[0][0][1])]


def test_images_of_style_transfer_that_are_too_narrow(tmp_path):
    for name, size in (("wide", (400, 20)), ("usual", (40, 30))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    wide, usual = (str(tmp_path / f"{name}.png") for name in ("wide", "usual"))
    with pytest.raises(DataError, match=r"dataset\.style=.*wide\.png: 20 x 400 pixels, reduced to 8 x 160"):
        StyleImages("style_transfer", "own", 1, content=usual, style=wide).prepare()
    assert StyleImages("style_transfer", "own", 1, content=usual, style=usual).sizes["val"] == 1


def test_masks_of_one_bit_and_parts_in_folders(tmp_path):
    for at, part in enumerate(("train", "train", "test")):
        for name, mode in (("images", "RGB"), ("masks", "1")):
            folder = tmp_path / name / part
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(4, 6, dtype=bool)).convert(mode).save(folder / f"{at % 2}.png")
    data = read(MaskFolders, {"path": tmp_path}, "segmentation")
    assert data.target.classes == ["0", "1"] and np.array_equal(data.content.columns["mask"][0], np.eye(4, 6))
    assert [data.content.columns["image"].paths[row].parent.name for row in data.rows("test")] == ["test"]


def test_masks_beside_images(tmp_path):
    masks = write_masks(tmp_path)
    data = read(MaskFolders, {"path": tmp_path}, "segmentation")
    assert data.target.classes == ["0", "7", "255"] and data.target.void is None
    for found, mask in zip(data.content.columns["mask"], masks):
        assert np.array_equal(found, np.searchsorted([0, 7, 255], mask))
    data = read(
        MaskFolders, {"path": tmp_path, "void": 255, "classes": ["ground", "thing"]}, "segmentation", image_size=32
    )
    assert data.target.classes == ["ground", "thing"]
    made = make_preprocessor(None, data)
    examples = data.examples("train")
    encoded = made.encode(examples)["labels"]
    for row, (mask, image) in enumerate(zip(encoded, examples["image"])):
        scale = 32 / max(image.shape[1:])
        height, width = round(image.shape[1] * scale), round(image.shape[2] * scale)
        assert (mask[height + 1 :] == 255).all() and (mask[:, width + 1 :] == 255).all()
        assert mask[0, 0] == 1 and mask[height // 2 - 2, width - 2] == 0 and mask[height - 2, width - 2] == 255, row
    back = made.decode({"masks": encoded}, examples)
    wrong = [
        np.mean(found != np.where(true == data.target.void, 255, true))
        for found, true in zip(back.masks, examples["mask"])
    ]
    assert max(wrong) < 0.15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "masks" / "2.png").unlink(), r"2\.png: an image without mask"),
        (lambda root: (root / "images" / "2.png").unlink(), r"2\.png: a mask without image"),
        (
            lambda root: Image.new("L", (5, 5)).save(root / "masks" / "1.png"),
            r"1\.png: an image of 30 x 30, but its annotations are for one of 5 x 5",
        ),
        (lambda root: (root / "masks" / "1.png").write_bytes(b"no"), r"1\.png: not an image that can be read"),
        (
            lambda root: Image.new("RGB", (30, 30), "red").save(root / "masks" / "1.png"),
            r"1\.png: a picture in colours; a mask has one channel",
        ),
        (
            lambda root: Image.new("L", (30, 30)).save(root / "masks" / "1.bmp"),
            r"1\.bmp and 1\.png have the same name",
        ),
        (
            lambda root: [Image.new("L", (w, h)).save(root / "masks" / f"{at}.png") for at, (h, w) in enumerate(SIZES)],
            "the masks have a single class, the value 0",
        ),
        (
            lambda root: (root / "images" / "train").mkdir(),
            r"the images in 0\.png, 1\.png, .* would be in none of the parts",
        ),
    ],
)
def test_masks_that_do_not_fit(change, message, tmp_path):
    write_masks(tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=message):
        read(MaskFolders, {"path": tmp_path}, "segmentation")


def compressed(counts):
    """COCO's text of run lengths, written independently of the reader."""
    text = ""
    for at, count in enumerate(counts):
        value = count - counts[at - 2] if at > 2 else count
        while True:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 if more else bits) + 48)
            if not more:
                break
    return text


def test_polygons_and_run_lengths_give_the_same_mask(tmp_path):
    write_images(tmp_path / "images")
    height, width = SIZES[0]
    mask = np.zeros((height, width), dtype=bool)
    mask[4:14, 5:25] = True
    runs = run_lengths(mask)
    kinds = [
        [[5, 4, 25, 4, 25, 14, 5, 14]],
        {"counts": runs, "size": [height, width]},
        {"counts": compressed(runs), "size": [height, width]},
    ]
    found = []
    for at, segmentation in enumerate(kinds):
        content = {
            "images": [{"id": 1, "file_name": "0.png", "height": height, "width": width}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "segmentation": segmentation}],
            "categories": [{"id": 4, "name": "cat"}],
        }
        (tmp_path / f"{at}.json").write_text(json.dumps(content))
        data = read(
            CocoImages, {"path": tmp_path / f"{at}.json"}, "segmentation", split={"train": 1, "val": 0, "test": 0}
        )
        assert data.target.classes == ["background", "cat"]
        found.append(data.content.columns["mask"][0] > 0)
    assert all(np.array_equal(one, mask) for one in found)


def test_points_from_a_table_and_from_coco(tmp_path):
    write_points(tmp_path)
    data = read(Keypoints, {"path": tmp_path / "points.csv"}, "landmarks")
    assert data.target.names == ["left_eye", "right_eye"] and data.target.mirrored == [1, 0]
    points = data.content.columns["points"]
    assert points[0].tolist() == [[5, 6], [20, 7]] and np.isnan(points[1, 1]).all() and points[1, 0].tolist() == [1, 2]
    with open(tmp_path / "points.csv", "a") as file:
        file.write("\nimages/9.png,1,1,1,1\n")
    with pytest.raises(DataError, match=r"points\.csv, line 5: there is no image images/9\.png"):
        read(Keypoints, {"path": tmp_path / "points.csv"}, "landmarks")
    for name, text, message in (
        ("short.csv", "image,a_x,a_y\nimages/0.png,1\n", "line 2: the header has 3 cells, this row 2"),
        ("infinite.csv", "image,a_x,a_y\nimages/0.png,1,inf\n", "line 2: 'inf' is not a number of pixels"),
        ("hidden.csv", "image,a_x,a_y\nimages/0.png,,\n", "no point is visible"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            read(Keypoints, {"path": tmp_path / name}, "landmarks")
    (tmp_path / "points.json").write_text(json.dumps(points_of_coco()))
    same = read(CocoImages, {"path": tmp_path / "points.json"}, "landmarks", split={"train": 2, "val": 0, "test": 0})
    np.testing.assert_array_equal(same.content.columns["points"], points[:2])


def test_several_labels_from_a_table_and_from_folders(tmp_path):
    present = write_labels(tmp_path)
    data = read(LabelledImages, {"path": tmp_path / "labels.csv"}, "multi_label")
    assert data.target.classes == ["dark", "round"] and data.content.columns["labels"].astype(int).tolist() == [
        list(one) for one in present
    ]
    folders = read(
        LabelledImages, {"path": tmp_path / "folders"}, "multi_label", split={"train": 1, "val": 1, "test": 1}
    )
    found = dict(zip(folders.content.names, folders.content.columns["labels"].astype(int).tolist()))
    assert found == {f"{at}.png": list(one) for at, one in enumerate(present) if any(one)}
    (tmp_path / "more.csv").write_text("image,dark,size,round\nimages/0.png,1.0,60,0.0\n")
    some = LabelledImages("multi_label", "own", 1, None, path=tmp_path / "more.csv", classes=["dark", "round"]).read()
    assert some.columns["labels"].tolist() == [[True, False]]
    for name, content, message in (
        ("twice.csv", b"image,dark,dark\n", "has two columns 'dark'"),
        (
            "again.csv",
            b"image, dark,round\nimages/0.png,1,1\nimages/0.png,0,1\n",
            r"0\.png: this image occurs more than once",
        ),
        ("nameless.csv", b"image,dark,round,\nimages/0.png,1,1,\n", "line 1: has a column without a name"),
        ("latin.csv", "image,dark,rundes\nimages/ä.png,1,1\n".encode("latin-1"), "line 2: not UTF-8 text"),
        ("long.csv", b"image,dark,round\nimages/0.png,1,1,0\n", "line 2: the header has 3 cells, this row 4"),
        ("quote.csv", b'image,dark,round\n"images/0.png,1,1\n', "line 2: not a CSV file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            read(LabelledImages, {"path": tmp_path / name}, "multi_label")
    Image.new("RGB", (4, 4)).save(tmp_path / "folders" / "new.png")
    with pytest.raises(DataError, match=r"new\.png: an image in none of the folders of labels"):
        read(LabelledImages, {"path": tmp_path / "folders"}, "multi_label")
    with open(tmp_path / "labels.csv", "a") as file:
        file.write("\nimages/0.png,maybe,1")
    with pytest.raises(DataError, match=r"labels\.csv, line 6: dark is 'maybe', neither 0 nor 1"):
        read(LabelledImages, {"path": tmp_path / "labels.csv"}, "multi_label")


def test_the_public_sets_are_read():
    if not Path(SHARED_DATA / "bccd").is_dir():
        pytest.skip("bccd is not here (MLRUN_DATA_DIR, or ../shared/data)")
    data = VocFolder("detection", "bccd", 1, str(SHARED_DATA), path="bccd", collection=True, skip_invalid=True)
    data.prepare()
    assert data.sizes == {"train": 205, "val": 87, "test": 72} and data.target.classes == ["Platelets", "RBC", "WBC"]
    assert data.content.columns["image"][0].shape == (3, 480, 640)
