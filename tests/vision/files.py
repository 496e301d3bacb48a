"""Small annotated image files in the formats that are read."""

from __future__ import annotations

import csv
import json

import numpy as np
from PIL import Image

from mlrun.data.datasets.coco import CocoImages
from mlrun.data.datasets.voc import VocFolder
from mlrun.data.datasets.yolo_folder import YoloFolder

SIZES = [(40, 60), (30, 30), (50, 20), (20, 80)]  # heights and widths
OBJECTS = [
    [("cat", (5, 4, 25, 14)), ("dog", (30, 10, 50, 40))],
    [("dog", (0, 0, 10, 30))],
    [],
    [("cat", (70, 5, 80, 20))],
]


def write_images(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for at, (height, width) in enumerate(SIZES):
        Image.fromarray(np.full((height, width, 3), 40 * at, np.uint8)).save(folder / f"{at}.png")


def write_masks(root, values=(0, 7, 255)):
    """Images and masks with three values."""
    write_images(root / "images")
    (root / "masks").mkdir()
    masks = []
    for at, (height, width) in enumerate(SIZES):
        mask = np.full((height, width), values[0], np.uint8)
        mask[: height // 2, : width // 3], mask[height // 2 :, width // 2 :] = values[1], values[2]
        Image.fromarray(mask).save(root / "masks" / f"{at}.png")
        masks.append(mask)
    return masks


def write_rectangles(root, count):
    """Grey noise with a brighter rectangle, and its mask."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir()
    for at in range(count):
        mask = np.zeros((32, 32), np.uint8)
        (left, top), (width, height) = random.integers(1, 15, 2), random.integers(8, 16, 2)
        mask[top : top + height, left : left + width] = 1
        pixels = (random.normal(100, 25, (32, 32, 3)) + 60 * mask[..., None]).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{at}.png")
        Image.fromarray(mask).save(root / "masks" / f"{at}.png")


def write_points(root):
    """A table with the points of three of the images, one of them not visible."""
    write_images(root / "images")
    rows = [
        "image,left_eye_x,left_eye_y,right_eye_x,right_eye_y",
        "images/0.png,5,6,20,7",
        "images/1.png,1,2,,",
        "images/3.png,9,8,7,6",
    ]
    (root / "points.csv").write_text("\n".join(rows))


def write_labels(root):
    """A table with two labels of each image, and the same as folders."""
    write_images(root / "images")
    present = [(1, 0), (1, 1), (0, 1), (0, 0)]
    lines = [f"images/{at}.png,{a},{b}" for at, (a, b) in enumerate(present)]
    (root / "labels.csv").write_text("\n".join(["image,dark,round", *lines]))
    for at, flags in enumerate(present):
        for name, there in zip(("dark", "round"), flags):
            if there:
                (root / "folders" / name).mkdir(parents=True, exist_ok=True)
                (root / "folders" / name / f"{at}.png").write_bytes((root / "images" / f"{at}.png").read_bytes())
    return present


def points_of_coco():
    """The same points in COCO's form, for two of the images."""
    return {
        "images": [{"id": at, "file_name": f"{at}.png"} for at in (0, 1)],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "keypoints": [5, 6, 2, 20, 7, 2]},
            {"id": 2, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2, 0, 0, 0]},
        ],
        "categories": [{"id": 1, "name": "face", "keypoints": ["left_eye", "right_eye"]}],
    }


def write_voc(root):
    write_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for at, ((height, width), objects) in enumerate(zip(SIZES, OBJECTS)):
        lines = ["<annotation>", f"<size><width>{width}</width>", f"<height>{height}</height></size>"]
        for name, (left, top, right, bottom) in objects:
            lines += ["<object>", f"<name>{name}</name>"]
            lines += ["<bndbox>", f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"]
            lines += [f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>", "</object>"]
        (root / "Annotations" / f"{at}.xml").write_text("\n".join([*lines, "</annotation>"]))
    return VocFolder, {"path": root}


def write_coco(root):
    write_images(root / "images")
    images = [{"id": 10 + at, "file_name": f"{at}.png", "height": h, "width": w} for at, (h, w) in enumerate(SIZES)]
    annotations = [
        {"id": 1, "image_id": 10 + at, "category_id": {"cat": 3, "dog": 7}[name], "iscrowd": 0,
         "bbox": [left, top, right - left, bottom - top]}
        for at, objects in enumerate(OBJECTS) for name, (left, top, right, bottom) in objects
    ]  # fmt: skip
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    (root / "all.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return CocoImages, {"path": root / "all.json"}


def write_yolo(root):
    write_images(root / "images")
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("cat\ndog\n")
    for at, ((height, width), objects) in enumerate(zip(SIZES, OBJECTS)):
        lines = [
            f"{('cat', 'dog').index(name)} {(left + right) / 2 / width} {(top + bottom) / 2 / height} {(right - left) / width} {(bottom - top) / height}"
            for name, (left, top, right, bottom) in objects
        ]
        if at != 2:
            (root / "labels" / f"{at}.txt").write_text("\n".join(lines) + "\n")
    return YoloFolder, {"path": root}


CAPTIONS = [["a dark wide picture"], ["a square", "a grey square"], ["a tall one"], ['the widest, and "light"']]


def write_captions(root):
    """Images, and a CSV file of their captions; returns its path."""
    write_images(root / "images")
    with open(root / "captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        writer.writerows([f"images/{at}.png", caption] for at, several in enumerate(CAPTIONS) for caption in several)
    return root / "captions.csv"
