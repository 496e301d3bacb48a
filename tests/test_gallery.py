"""The gallery: it goes on where it stopped, repeats what changed, and writes what was measured."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from benchmarks import gallery, pictures


@pytest.fixture
def measured(tmp_path, monkeypatch):
    for name in ("RUNS", "CSV", "MARKDOWN"):
        monkeypatch.setattr(gallery, name, tmp_path / getattr(gallery, name).name)
    calls = []

    def in_a_process(command, seed, timeout):
        calls.append((command, seed))
        value = {1: 0.5, 2: 0.7}[seed]
        row = {
            "dataset": "wine",
            "metric": "test/accuracy",
            "value": value,
            "parameters": 1234,
            "fit_seconds": 1,
            "seconds": 2,
            "device": "CPU",
        }
        return {**row, "config": gallery.config_hash(f"{command} seed={seed}")}, ""

    monkeypatch.setattr(gallery, "in_a_process", in_a_process)
    return calls


def test_only_what_is_new_or_changed_is_run(measured, monkeypatch):
    assert gallery.main(["knn", "--seeds", "1"]) == 0
    assert gallery.main(["knn", "--seeds", "1", "2"]) == 0
    assert measured == [("model=knn", 1), ("model=knn", 2)]
    rows = list(csv.DictReader(open(gallery.CSV, encoding="utf-8")))
    assert float(rows[0]["mean"]) == pytest.approx(0.6) and float(rows[0]["std"]) == pytest.approx(0.141421, abs=1e-5)
    assert "| `mlrun model=knn` | wine | test/accuracy | 0.6000 ± 0.14 | 2 | 1,234 |" in gallery.MARKDOWN.read_text(
        encoding="utf-8"
    )
    monkeypatch.setattr(gallery, "config_hash", lambda command: "another")
    gallery.main(["knn", "--seeds", "1"])
    assert len(measured) == 3


def test_failures_are_told_and_the_rest_is_written(measured, monkeypatch, capsys):
    def failing(command, seed, timeout):
        return None, "out of paper"

    gallery.main(["knn", "--seeds", "1"])
    monkeypatch.setattr(gallery, "in_a_process", failing)
    assert gallery.main(["svm", "knn", "--seeds", "1"]) == 1
    assert "failed: model=svm seed=1: out of paper" in capsys.readouterr().err
    assert "model=knn" in gallery.MARKDOWN.read_text(encoding="utf-8")


def test_every_model_of_the_catalogue_is_in_it():
    assert {"model=cnn", "model=resnet", "model=knn", "model=mlp"} <= set(gallery.defaults())


def test_pictures_keep_the_colours_of_classes_of_few_dots():
    from mlrun.report.style import PALETTE

    colours = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in PALETTE])
    shades = np.linspace(0, 1, 200)[:, None, None] * np.linspace(255, 30, 200)[None, :, None] * np.ones(3)
    pixels = np.concatenate([shades, np.full((40, 200, 3), 255)]).astype(
        np.uint8
    )  # a grid of grey images, and a plot below
    dots = pixels[-10]
    for place, colour in enumerate(colours):
        for pale in range(9):  # with smooth edges
            dots[20 * place + pale] = 255 - (255 - colour) * (pale + 1) / 9
    drawn = np.asarray(pictures.indexed(Image.fromarray(pixels)).convert("RGB")).astype(int)
    assert np.abs(drawn - pixels).max() <= 24
