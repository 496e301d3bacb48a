"""300 mutated configurations and 100 corrupted files, from a seeded generator: one message each, no traceback, no hang.

`python -m benchmarks.attacks` tries more.
"""

from __future__ import annotations

import random
import time

import numpy as np
import pandas as pd
import pytest

from mlrun.config import explain
from mlrun.config.compose import register_resolvers
from tests.practice.faults import corrupted, faults_of_a_message, good_table, judge, mutated, prepare

pytestmark = pytest.mark.long


def test_mutated_configurations(workplace, monkeypatch):
    register_resolvers()
    for cached in (explain._composition, explain._whole_composition):  # here no file changes between the lines
        monkeypatch.setattr(cached, "cache_clear", lambda: None)
    pd.DataFrame({"a": range(40), "b": range(40), "y": [0, 1] * 20}).to_csv("table.csv", index=False)
    generator, refused = random.Random(20), 0
    for _ in range(300):
        argv = mutated(generator)
        start = time.monotonic()
        message = judge(argv)
        assert time.monotonic() - start < 20, argv
        if message is None:
            continue
        refused += 1
        assert not faults_of_a_message(message), (argv, message)
    assert refused > 180


def test_corrupted_tables(workplace):
    good = good_table()
    generator, refused = random.Random(7), 0
    for number in range(80):
        content = corrupted(generator, good)
        zipped = content.startswith(b"\x1f\x8b")
        path = workplace / f"файл {number}.{'csv.gz' if zipped else 'csv'}"
        path.write_bytes(content)
        start = time.monotonic()
        message = prepare("dataset=csv", f"dataset.path='{path}'")
        assert time.monotonic() - start < 20
        if message is not None:
            refused += 1
            assert len(message.splitlines()) == 1 and path.name in message, (content[:200], message)
    assert refused > 40
    (workplace / "good.csv").write_bytes(good)
    assert prepare("dataset=csv", "dataset.path=good.csv") is None


def test_corrupted_binary_files(workplace):
    from PIL import Image

    generator = random.Random(3)
    table = pd.DataFrame({"a": np.arange(50.0), "y": [0, 1] * 25})
    table.to_parquet("whole.parquet")
    whole = (workplace / "whole.parquet").read_bytes()
    for number in range(10):
        damaged = bytearray(whole)
        for _ in range(60):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path = workplace / f"{number}.parquet"
        path.write_bytes(bytes(damaged[: generator.randrange(10, len(damaged))] if number % 2 else damaged))
        message = prepare("dataset=csv", f"dataset.path={path}")
        assert message is None or len(message.splitlines()) == 1 and path.name in message
    for name in ("one", "two"):
        (workplace / "images" / name).mkdir(parents=True)
        for index in range(5):
            Image.fromarray(np.full((20, 20), index * 20, np.uint8)).save(workplace / "images" / name / f"{index}.png")
    victim = workplace / "images" / "one" / "2.png"
    whole = victim.read_bytes()
    for _ in range(10):
        damaged = bytearray(whole[: generator.randrange(5, len(whole) - 20)])  # within the pixels
        damaged[generator.randrange(len(damaged))] ^= 0xFF
        victim.write_bytes(bytes(damaged))
        message = prepare("dataset=image_folder", "dataset.path=images")
        assert message is not None and len(message.splitlines()) == 1 and "2.png" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("名字,y\n张,1\n李,2\n".encode("gb18030"), "encoding=gb18030"),
        (b"a,a,y\n1,2,3\n3,4,5\n", "'a' occurs more than once"),
        (b"a,b,y\n1,2,3\n", "1 row"),
        (b"a,y\n" + b"9" * 400 + b",1\n2,0\n3,1\n4,0\n5,1\n", "infinite or beyond"),
    ],
)
def test_known_faults_of_tables(workplace, content, said):
    (workplace / "我的 data.csv").write_bytes(content)
    assert said in prepare("dataset=csv", "dataset.path='我的 data.csv'")


def test_huge_whole_numbers_and_ten_thousand_columns_work(workplace):
    rows = [f"{2**63 + index},{index % 2}" for index in range(60)]
    (workplace / "big.csv").write_text("size,y\n" + "\n".join(rows))
    assert prepare("dataset=csv", "dataset.path=big.csv") is None
    wide = np.random.default_rng(0).integers(0, 9, (30, 10_000))
    wide[:, -1] = np.arange(30) % 2
    np.savetxt("wide.csv", wide, "%d", ",", header=",".join(f"c{index}" for index in range(10_000)), comments="")
    assert prepare("dataset=csv", "dataset.path=wide.csv") is None
