"""Tables larger than memory: blocks, parts, order, conversion, and the memory that a pass takes."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from mlrun.data.block_batches import BlockOrder
from mlrun.data.datasets import large_table
from mlrun.data.datasets.large_table import LargeTable
from mlrun.data.preprocess.preprocessor import make_preprocessor
from mlrun.errors import ConfigError, DataError
from tests.life.conftest import Child

SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}


def frame_of(rows, columns=3, seed=0):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{at}": random.normal(at, 1 + at, rows).astype(np.float32) for at in range(columns)})
    frame["colour"] = random.choice(["red", "green", "blue"], rows)
    frame["kind"] = np.where(frame["x0"] + (frame["colour"] == "red") > 0.3, "high", "low")
    return frame


def table(path, **options):
    options = {"problem": "auto", "name": "large_table", "seed": 1, "split": SPLIT, "resident_limit": 2**20, **options}
    return LargeTable(path, **options)


@pytest.fixture
def file(tmp_path):
    """2,000 rows in blocks of 150, the last one shorter."""
    path = tmp_path / "table.parquet"
    frame_of(2000).to_parquet(path, row_group_size=150, index=False)
    return path


def test_it_has_the_rows_and_features_of_the_same_table_in_memory(file):
    from mlrun.data.datasets.csv_file import CsvFile

    ours, theirs = table(file), CsvFile(file, problem="auto", name="csv", seed=1, split=SPLIT)
    assert ours.features == theirs.features and ours.problem == theirs.problem == "classification"
    for part in ("train", "val", "test"):
        order = np.argsort(theirs.rows(part))
        assert (ours.rows(part) == theirs.rows(part)[order]).all()
        own, other = ours.examples(part), theirs.examples(part).take(order)
        assert (own["label"] == other["label"]).all()
        pd.testing.assert_frame_equal(
            own["row"].reset_index(drop=True), other["row"].reset_index(drop=True), check_dtype=False
        )
    chosen = np.array([700, 3, 3, 1500, 149, 150])
    assert ours.content.columns["row"].iloc[chosen]["x0"].tolist() == pd.read_parquet(file)["x0"].iloc[chosen].tolist()


def test_an_epoch_has_every_training_row_once_in_an_order_that_resumes(file):
    data = table(file, resident_limit=0, batch_size=64, buffer=400)
    preprocessor = make_preprocessor(None, data)
    loader = data.loader("train", preprocessor, shuffle=True)
    first, second = ([batch.rows.tolist() for batch in loader] for _ in range(2))
    assert sorted(sum(first, [])) == list(range(1600)) and first != second
    assert [len(rows) for rows in first] == [64] * 25
    # blocks in another order, and rows shuffled over more than one block but not over the whole epoch
    rows = data.rows("train")[np.array(sum(first, []))]
    assert len(set((rows[:300] // 150).tolist())) < 6 < len(set((rows // 150).tolist()))
    assert not (np.diff(rows[:64]) > 0).all()

    again = data.loader("train", preprocessor, shuffle=True)
    begun = iter(again)
    for _ in range(9):
        next(begun)
    state = again.state_dict()
    begun.close()
    resumed = data.loader("train", preprocessor, shuffle=True)
    resumed.load_state_dict(state)
    assert [batch.rows.tolist() for batch in resumed] == first[9:]
    assert [batch.rows.tolist() for batch in resumed] == second

    encoded = preprocessor.encode(data.examples("train").take(np.array(first[3])))
    batch = list(data.loader("train", preprocessor, shuffle=True))[3]
    assert (batch["features"].numpy() == encoded["features"]).all() and (
        batch["labels"].numpy() == encoded["labels"]
    ).all()


def test_the_processes_of_a_distributed_run_divide_each_batch(file):
    data = table(file, resident_limit=0, batch_size=64, buffer=400)
    preprocessor = make_preprocessor(None, data)
    whole = [set(batch.rows.tolist()) for batch in data.loader("train", preprocessor, shuffle=True)]
    halves = [data.loader("train", preprocessor, shuffle=True, shard=(rank, 2)) for rank in range(2)]
    assert [set(a.rows.tolist()) | set(b.rows.tolist()) for a, b in zip(*halves)] == whole


def test_a_network_and_an_estimator_learn_from_it(file, experiment):
    shared = (
        "dataset=large_table",
        f"dataset.path={file}",
        "dataset.split={train: 0.8, val: 0.1, test: 0.1}",
        "dataset.buffer=400",
    )
    network = experiment(
        *shared, "model=mlp", "model.network.hidden=[16]", "trainer.max_epochs=4", "model.figures=[]", "dataset.batch_size=32",
        "dataset.resident_limit=0", "model.class_weight=balanced", "optim.lr=0.01",
    )  # fmt: skip
    assert network.metrics["test/accuracy"] > 0.9 > 0.75 > network.metrics["test/baseline_accuracy"]
    estimator = experiment(*shared, "model=sgd", "model.figures=[]", "dataset.passes=3", "model.class_weight=balanced")
    assert estimator.metrics["test/accuracy"] > 0.9


def test_a_csv_file_is_converted_once_and_gives_the_same(file, tmp_path):
    path, cache = tmp_path / "table.csv", tmp_path / "cache"
    pd.read_parquet(file).to_csv(path, index=False, float_format="%.9g")
    data = table(path, cache=cache)
    data.prepare()
    (made,) = cache.iterdir()
    written = made.stat().st_mtime_ns
    again = table(path, cache=cache)
    assert again.digest == data.digest and made.stat().st_mtime_ns == written
    other = table(file)
    np.testing.assert_allclose(data.examples("test")["row"]["x1"], other.examples("test")["row"]["x1"], rtol=1e-6)
    assert (data.examples("test")["label"] == other.examples("test")["label"]).all()


@pytest.mark.parametrize("words", [["007 ", "07", "12"], ["true", "False", ""], ["u ", "v", "?"]])
def test_a_csv_file_is_read_as_in_memory(tmp_path, words):
    from mlrun.data.datasets.csv_file import CsvFile

    path = tmp_path / "a.csv"
    path.write_text(
        "n, colour, y\n" + "".join(f"{i / 2}, {['red', 'n/a'][i % 2]} ,{words[i % 3]}\n" for i in range(90))
    )
    options = {"problem": "auto", "seed": 1, "drop_missing_target": True}
    ours = table(path, cache=tmp_path / "cache", **options)
    theirs = CsvFile(path, name="csv", **options)
    assert ours.features == theirs.features
    assert ours.content.columns["row"].iloc[np.arange(4)]["colour"].fillna("").tolist() == ["red", ""] * 2


def test_large_row_groups_are_divided(tmp_path, monkeypatch):
    from mlrun.data.readers import row_groups

    path = tmp_path / "one_group.parquet"
    frame_of(1000).to_parquet(path, index=False)
    monkeypatch.setattr(large_table, "LARGEST_BLOCK", 600)
    monkeypatch.setattr(row_groups, "BLOCK_VALUES", 500)
    data = table(path, cache=tmp_path / "cache")
    data.prepare()
    assert data.blocks.count == 10 and len(data.blocks) == 1000
    assert data.content.columns["row"].iloc[np.arange(1000)]["x0"].tolist() == pd.read_parquet(path)["x0"].tolist()


def test_rows_without_a_target(tmp_path):
    frame = frame_of(600)
    frame.loc[frame.index % 7 == 0, "kind"] = None
    frame.to_parquet(tmp_path / "gaps.parquet", row_group_size=100, index=False)
    with pytest.raises(DataError, match="'kind' is missing"):
        table(tmp_path / "gaps.parquet").prepare()
    data = table(tmp_path / "gaps.parquet", drop_missing_target=True)
    rows = np.concatenate([data.rows(part) for part in ("train", "val", "test")])
    assert len(rows) == 600 - 86 and (rows % 7 != 0).all()
    classes = np.array(data.target.classes)[data.examples("test")["label"]]
    assert classes.tolist() == frame["kind"].iloc[data.rows("test")].tolist()


def test_the_summary_lists_missing_values(tmp_path):
    frame = frame_of(600)
    frame.loc[:59, "x1"] = np.nan
    frame.to_parquet(tmp_path / "gaps.parquet", row_group_size=100, index=False)
    data = table(tmp_path / "gaps.parquet")
    data.prepare()
    assert dict(data.summary)["missing"].startswith("x1 10.0% (filled with")


def test_what_needs_all_rows_is_refused(file, experiment):
    shared = ("dataset=large_table", f"dataset.path={file}")
    with pytest.raises(DataError, match="cross-validation .* dataset=csv"):
        experiment(*shared, "model=sgd", "trainer=kfold")
    with pytest.raises(ConfigError, match="RandomForestClassifier learns only from all rows at once"):
        experiment(*shared, "model=random_forest")


def test_values_that_do_not_fit_are_named(tmp_path):
    frame = frame_of(400)
    frame.loc[350, "x1"] = np.inf
    frame.to_parquet(tmp_path / "wrong.parquet", row_group_size=100, index=False)
    data = table(tmp_path / "wrong.parquet", target="x2")
    with pytest.raises(DataError, match="'x1' is infinite"):
        data.content.columns["row"].iloc[np.arange(400)]
    (tmp_path / "wrong.csv").write_text("a,b\n" + "1,2\n" * 60_000 + "1,x\n")
    with pytest.raises(DataError, match="'x'.*dataset.categorical"):
        table(tmp_path / "wrong.csv", cache=tmp_path / "cache").prepare()


def test_segments_cover_all_rows_of_a_part():
    rows = np.array([1, 2, 5, 11, 12, 13, 29], dtype=np.int32)
    order = BlockOrder(rows, np.array([0, 10, 20, 30]), buffer=3)
    assert [segment.rows.tolist() for segment in order.segments([2, 0, 1])] == [[6, 0, 1, 2], [3, 4, 5]]


def peak_of(work, path, log):
    """MiB by which `work` exceeds the memory that it begins with, in a process of its own that has done it with a few rows before."""

    def status(name):
        return int(re.search(rf"{name}:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024

    def measured():
        few = path.with_name("few.parquet")
        parquet.write_table(parquet.ParquetFile(path).read_row_group(0), few)
        work(few)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak is that from now on
        before = status("VmRSS")
        work(path)
        print("peak", status("VmHWM") - before)

    child = Child(measured, log)
    assert child.wait() == 0, child.output
    return float(child.output.split("peak")[1])


def test_memory_is_bounded(tmp_path, monkeypatch):
    """A pass over 240,000 rows of 64 columns, 123 MB as they are read, takes a part of that; all rows at once take more than all of it.

    The sample that is looked at first is smaller in proportion.
    """
    monkeypatch.setattr(large_table, "SAMPLE_ROWS", 256)
    rows, path = 240_000, tmp_path / "wide.parquet"
    random = np.random.default_rng(0)
    columns = {f"x{at}": random.random(rows, dtype=np.float32).astype(np.float64) for at in range(64)}
    columns["y"] = (columns["x0"] > 0.5).astype(np.int64)
    parquet.write_table(pyarrow.table(columns), path, row_group_size=4096, compression="none", use_dictionary=False)
    del columns

    def stream(path):
        data = table(path, split={"train": 0.98, "val": 0.01, "test": 0.01}, buffer=8192, batch_size=1024)
        preprocessor = make_preprocessor(None, data)
        read = sum(len(batch["labels"]) for batch in data.loader("train", preprocessor, shuffle=True))
        assert read == data.sizes["train"]

    def whole(path):
        assert len(pd.read_parquet(path)) > 4000

    peaks = peak_of(stream, path, tmp_path / "stream.log"), peak_of(whole, path, tmp_path / "whole.log")
    assert peaks[0] < 75 and peaks[1] > 110, peaks
