"""Folders of images, sets of the Hugging Face library, and rows of another distribution: what a user brings."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from mlrun.config.compose import compose
from mlrun.config.instantiate import build
from mlrun.data.datasets.image_folder import ImageFolder
from mlrun.data.readers.images import read_image
from mlrun.errors import DataError


def draw(folder, name, count, seed=0, mode="RGB", suffix="png"):
    """Images of any size: a dark or a bright square on grey."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    for index in range(count):
        height, width = generator.integers(9, 70, 2)
        pixels = generator.integers(90, 150, (height, width, 3)).astype(np.uint8)
        pixels[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 10 if name == "dark" else 245
        Image.fromarray(pixels).convert(mode).save(folder / name / f"图 {index}.{suffix}")


def folder_data(path, **options):
    settings = {"split": {"train": 0.7, "val": 0.15, "test": 0.15, "train_dev": 0}, "side": 16, **options}
    return ImageFolder(str(path), "classification", "image_folder", 1, **settings)


def test_folders_say_which_part_their_images_are(tmp_path):
    for part, count in (("train", 20), ("val", 6), ("test", 8)):
        for name in ("dark", "bright"):
            draw(tmp_path / part, name, count, seed=count)
    assert folder_data(tmp_path).sizes == {"train": 40, "val": 12, "test": 16}
    data = folder_data(tmp_path, split={"train": 0.7, "val": 0.15, "test": 0.15, "train_dev": 0.2})
    assert (
        data.sizes["val"] == 12
        and data.sizes["test"] == 16
        and data.sizes["train"] + data.sizes["train_dev"] == 40
        and data.sizes["train_dev"] in (8, 11, 12)
    )
    assert set(data.rows("val")) == set(range(40, 52)) and set(data.rows("test")) == set(range(52, 68))


def test_a_val_folder_alone_leaves_test_to_train(tmp_path):
    for part, count in (("train", 20), ("val", 6)):
        for name in ("dark", "bright"):
            draw(tmp_path / part, name, count, seed=count)
    sizes = folder_data(tmp_path).sizes
    assert sizes["val"] == 12 and sizes["train"] + sizes["test"] == 40 and 4 <= sizes["test"] <= 10


def test_corrupt_images_are_all_named_or_left_out(tmp_path, capsys):
    for name in ("dark", "bright"):
        draw(tmp_path, name, 10)
    (tmp_path / "dark" / "torn.png").write_bytes((tmp_path / "dark" / "图 1.png").read_bytes()[:60])
    (tmp_path / "bright" / "note.jpg").write_text("not an image")
    (tmp_path / "bright" / "empty.png").write_bytes(b"")
    os.mkfifo(tmp_path / "bright" / "pipe.png")  # opening it would wait for ever
    with pytest.raises(DataError, match="4 files cannot be read") as refused:
        folder_data(tmp_path).prepare()
    for name in ("torn.png", "note.jpg", "empty.png", "pipe.png", "skip_corrupt=true"):
        assert name in str(refused.value)
    data = folder_data(tmp_path, skip_corrupt=True)
    assert sum(data.sizes.values()) == 20
    assert capsys.readouterr().err.count("torn.png") == 1
    for row in data.rows("val"):
        assert (data.content.columns["image"][row] == read_image(tmp_path / data.content.names[row], (16, 16))).all()


def test_nested_folders_of_classes_are_reported_and_can_be_chosen(tmp_path):
    for name in ("animals/dark", "animals/bright", "vehicles/bright"):
        draw(tmp_path, name, 8)
    data = folder_data(tmp_path)
    assert data.target.classes == ["animals", "vehicles"]
    said = dict(data.summary)["note"]
    assert (
        "the classes are the folders animals, vehicles" in said and "bright, dark as classes: dataset.depth=2" in said
    )
    deeper = folder_data(tmp_path, depth=2)
    assert deeper.target.classes == ["animals/bright", "animals/dark", "vehicles/bright"]
    assert sum(deeper.sizes.values()) == 24 and "note" not in dict(deeper.summary)
    for row, label in enumerate(deeper.content.columns["label"]):
        assert deeper.content.names[row].startswith(deeper.target.classes[label])
    with pytest.raises(DataError, match=r"at least two classes, found none 3 levels below it \(dataset.depth\)"):
        folder_data(tmp_path, depth=3).prepare()


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("P", "gif"), ("RGBA", "png"), ("1", "bmp"), ("CMYK", "jpg"), ("I;16", "png"), ("LA", "webp")],
)
def test_every_kind_of_picture(tmp_path, mode, suffix):
    from PIL import Image

    square = np.full((40, 60), 20, dtype=np.uint8)
    square[10:30, 20:40] = 220
    image = Image.fromarray(square.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(square).convert(mode)
    path = tmp_path / f"one.{suffix}"
    image.convert("RGBA").save(path) if mode == "LA" else image.save(path)
    for grey in (True, False):
        pixels = read_image(path, (8, 12), grey)
        assert pixels.shape == (1 if grey else 3, 8, 12) and pixels.dtype == np.uint8
        assert pixels[:, 3:5, 5:7].mean() > 180 and pixels[:, 0, 0].mean() < 60


def test_a_network_learns_from_the_folder(tmp_path, experiment):
    for name in ("dark", "bright"):
        draw(tmp_path / "我的 images", name, 40)
    result = experiment(
        "model=mlp",
        "dataset=image_folder",
        f"dataset.path='{tmp_path / '我的 images'}'",
        "dataset.side=28",
        "dataset.grey=true",
        "trainer.max_epochs=6",
    )
    assert result.metrics["test/accuracy"] > 0.9


# --- the library datasets ---------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the extra [hub]")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def opened(*overrides):
    cfg = compose(["model=mlp", "dataset=huggingface", *overrides])
    data = build(cfg.dataset, {"seed": 1, "data_dir": None, "name": "huggingface"}, "dataset")
    data.prepare()
    return data


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_hub_tables(hub, kind, experiment):
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"size": generator.normal(size=300), "colour": generator.choice(["red", "blue"], 300)})
    table["kind"] = np.where((table["size"] > 0) ^ (table["colour"] == "red"), "a", "b")
    path = hub / f"table.{kind}"
    table.to_parquet(path) if kind == "parquet" else table.to_csv(path, index=False)
    given = [f"dataset.path={kind}", f"dataset.files={path}", "dataset.target=kind"]
    data = opened(*given)
    assert (
        data.sizes == {"train": 210, "val": 45, "test": 45}
        and data.target.classes == ["a", "b"]
        and data.features["row"].kinds == [["size", "number"], ["colour", "category"]]
    )
    if kind == "parquet":
        assert experiment("model=decision_tree", "dataset=huggingface", *given).metrics["test/accuracy"] > 0.95


def test_hub_images(hub):
    for part, count in (("train", 10), ("test", 4)):
        for name in ("dark", "bright"):
            draw(hub / "pictures" / part, name, count, seed=count)
    data = opened(
        "dataset.path=imagefolder",
        f"dataset.files={{train: '{hub}/pictures/train/**', test: '{hub}/pictures/test/**'}}",
        "dataset.side=16",
    )
    assert data.sizes["test"] == 8 and data.sizes["train"] + data.sizes["val"] == 20
    assert data.features["image"].shape == [3, 16, 16] and data.target.classes == ["bright", "dark"]
    pixels, labels = (
        data.content.columns[name][..., 6:10, 6:10] if name == "image" else data.content.columns[name]
        for name in ("image", "label")
    )
    assert pixels[labels == 1].mean() < 60 < 190 < pixels[labels == 0].mean()


def test_hub_without_the_set_or_the_library(hub, monkeypatch):
    with pytest.raises(DataError, match="cannot be loaded by datasets"):
        opened("dataset.path=parquet", f"dataset.files={hub / 'none.parquet'}")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'mlrun\[hub\]'"):
        opened("dataset.path=parquet")
