"""Tables of one's own: what is read, what is inferred, and one clear line for each fault."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import pytest

from mlrun.data.datasets.csv_file import CsvFile
from mlrun.data.features import Value
from mlrun.data.inputs import as_examples
from mlrun.data.preprocess.preprocessor import load, make_preprocessor
from mlrun.data.preprocess.table_rows import RowEncoder
from mlrun.data.readers.columns import as_columns
from mlrun.errors import DataError
from tests.data.through import encoded, loader, spec


def rows(line, count=40):
    return "".join(line(i) + "\n" for i in range(count))


def table(tmp_path, content, name="a.csv", problem="auto", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return CsvFile(str(path), problem, "csv", 1, **options)


def simple(cell="1", target=lambda i: i % 2):
    return "a,b,y\n" + rows(lambda i: f"{i},{cell},{target(i)}")


MIXED = "size,colour,rooms,y\n" + rows(
    lambda i: f"{i},{['red', 'green', 'blue'][i % 3] if i % 5 else ''},{i % 4 if i % 7 else ''},{['no', 'yes'][i % 2]}"
)


def test_numeric_and_categorical_columns(tmp_path):
    data = table(tmp_path, MIXED)
    assert data.target.classes == ["no", "yes"] and data.target.column == "y"
    kinds = [["size", "number"], ["colour", "category"], ["rooms", "number"]]
    assert data.problem == "classification" and data.features["row"].kinds == kinds
    known = {"input_shape": [7], "num_outputs": 2, "num_classes": 2}
    assert known.items() <= spec(data).items()
    x = data.examples("train")["row"]
    assert isinstance(x, pd.DataFrame) and x["rooms"].isna().any() and data.source.endswith("a.csv")


def sklearn_encoding(data):
    """What a user of scikit-learn would write."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    categories = [name for name, kind in data.features["row"].kinds if kind == "category"]
    numeric = [name for name, kind in data.features["row"].kinds if kind == "number"]
    one_hot = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    missing = MissingIndicator(error_on_new=False)
    return ColumnTransformer(
        [("numeric", median, numeric), ("categorical", one_hot, categories), ("missing", missing, numeric + categories)]
    )


def test_the_network_sees_what_the_estimator_sees(tmp_path):
    """Own encoding against scikit-learn's imputer and one-hot encoder, missing and unseen values included."""
    data = table(tmp_path, MIXED, normalize="none")
    train, test = data.examples("train")["row"], data.examples("test")["row"].copy()
    test.iloc[0, 1] = "violet"
    expected = sklearn_encoding(data).fit(train).transform(test)
    made = make_preprocessor(None, data)
    encode = made.encoders["row"].encoding
    np.testing.assert_allclose(encode(test), expected)
    np.testing.assert_allclose(encode(test.convert_dtypes()), expected)
    again = load(json.loads(json.dumps(made.state))).encoders["row"].encoding
    np.testing.assert_allclose(again(test[test.columns[::-1]]), expected)
    for_estimators = make_preprocessor(None, data, estimator=True).encoders["row"]
    assert isinstance(for_estimators, RowEncoder) and for_estimators.encode(test)["features"].dtype == np.float64
    np.testing.assert_array_equal(for_estimators.encode(test)["features"], expected)
    with pytest.raises(DataError, match="lack the column rooms"):
        encode(test[["size", "colour"]])
    with pytest.raises(DataError, match="numeric in training"):
        encode(test.assign(size="large"))


def test_standardization_of_numeric_columns_by_training_rows(tmp_path):
    data = table(tmp_path, MIXED)
    x = encoded(data, "train")["features"]
    np.testing.assert_allclose(x[:, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x[:, :2].std(axis=0), 1, atol=1e-6)
    assert set(np.unique(x[:, 2:])) == {0, 1}
    xs, ys = zip(*((batch["features"], batch["labels"]) for batch in loader(data, "train")))
    assert np.array_equal(np.concatenate(xs), x)
    assert np.array_equal(np.concatenate(ys), data.examples("train")["label"])


@pytest.mark.parametrize(
    "target, problem, labels",
    [
        (lambda i: i * 1.5, "regression", []),
        (lambda i: i, "regression", []),
        (lambda i: i % 3, "classification", [0, 1, 2]),
        (lambda i: float(i % 2), "classification", [0, 1]),
        (lambda i: i % 2 == 0, "classification", [False, True]),
        (lambda i: "ab"[i % 2], "classification", ["a", "b"]),
        (lambda i: 2**70 + i % 2 * 2**60, "classification", [str(2**70), str(2**70 + 2**60)]),
    ],
)
def test_the_problem_is_inferred_from_the_target(tmp_path, target, problem, labels):
    data = table(tmp_path, simple("1", target))
    classes = getattr(data.target, "classes", [])
    assert (data.problem, classes) == (problem, labels) and isinstance(data.target, Value) == (problem == "regression")
    assert [type(label) for label in classes] == [type(label) for label in labels]


def test_the_problem_can_be_told(tmp_path):
    assert isinstance(table(tmp_path, simple(target=lambda i: i % 3), problem="regression").target, Value)
    halves = table(tmp_path, simple(target=lambda i: i % 2 + 0.5), problem="classification")
    assert halves.target.classes == [0.5, 1.5]


def test_several_targets_of_yes_and_no(tmp_path):
    lines = "size,cat,dog,indoor\n" + rows(lambda i: f"{i},{i % 2},{'true' if i % 3 else 'false'},{int(i > 20)}")
    data = table(tmp_path, lines, target=["cat", "dog"])
    assert data.targets == ("labels",) and data.target.classes == ["cat", "dog"]
    assert data.features["row"].names == ["size", "indoor"]
    examples = data.examples("train")
    numbers = examples["row"]["size"].to_numpy()
    assert (examples["labels"] == np.stack([numbers % 2 == 1, numbers % 3 > 0], axis=1)).all()
    assert encoded(data, "train")["labels"].dtype == np.float32
    mixed = table(tmp_path, lines, target=["cat", "size"])
    assert mixed.targets == ("values",) and mixed.problem == "regression"
    words = table(tmp_path, lines.replace("true", "in").replace("false", "out"), target=["cat", "dog"])
    with pytest.raises(DataError, match="'dog' is one of several targets, which must be numbers in every row"):
        words.prepare()


@pytest.mark.parametrize(
    "content, options",
    [
        ("a;b;y\n" + rows(lambda i: f"{i};{i},5;{i % 2}"), {"decimal": ","}),
        ("a|b|y\n" + rows(lambda i: f"{i}|{i}|{i % 2}"), {}),
        ("a\tb\ty\n" + rows(lambda i: f"{i}\t{i}\t{i % 2}"), {"name": "a.tsv"}),
        (simple("café").encode("latin-1"), {"encoding": "latin-1"}),
        (simple("中文").encode("gb18030"), {"encoding": "gb18030"}),
        (simple("中文").encode("utf-16"), {"encoding": "utf-16"}),
        (simple("中文").encode("utf-8-sig"), {}),
        (simple("中文"), {"name": "有 空格.csv"}),
        ("特征,b,y\r\n" + rows(lambda i: f"{i},1,{i % 2}\r"), {}),
        (simple(str(2**70)), {}),
        (simple('"a, b\nc"'), {}),
        ("y,b,a\n" + rows(lambda i: f"{i % 2},1,{i}"), {"target": "y"}),
        (",b,y\n" + rows(lambda i: f"{i},1,{i % 2}"), {}),
        (simple(""), {}),
    ],
)
def test_kinds_of_text_files(tmp_path, content, options):
    data = table(tmp_path, content, **options)
    assert data.target.classes == [0, 1] and data.sizes == {"train": 24, "val": 8, "test": 8}
    shape = (24, *spec(data)["input_shape"])
    assert encoded(data, "train")["features"].shape == encoded(data, "train", estimator=True)["features"].shape == shape


def test_gzipped_and_parquet_files_give_the_same(tmp_path):
    import gzip

    plain = table(tmp_path, MIXED)
    plain.prepare()
    zipped = table(tmp_path, gzip.compress(MIXED.encode()), "b.csv.gz")
    pd.read_csv(tmp_path / "a.csv").to_parquet(tmp_path / "c.parquet")
    for other in (zipped, CsvFile(tmp_path / "c.parquet", "auto", "csv", 1)):
        np.testing.assert_array_equal(encoded(plain, "val")["features"], encoded(other, "val")["features"])


def test_types_of_parquet(tmp_path):
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None] * 20, dtype="Int64"),
            "c": pd.Categorical(list("abcd") * 10),
            "f": [True, None] * 20,
            "when": pd.date_range("2020", periods=40),
            "y": ["u", "v"] * 20,
        }
    )
    frame.to_parquet(tmp_path / "p.parquet")
    data = CsvFile(tmp_path / "p.parquet", "auto", "csv", 1)
    assert spec(data)["input_shape"] == [13]
    assert data.features["row"].kinds == [["n", "number"], ["c", "category"], ["f", "boolean"], ["when", "date"]]
    frame.assign(when=frame["when"] - frame["when"][0]).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="'when' \\(durations such as 0 days"):
        CsvFile(tmp_path / "p.parquet", "auto", "csv", 1).prepare()


FAULTS = {
    "empty": ("", "the file is empty"),
    "blank": ("\n\n", "no header"),
    "header only": ("a,b,y\n", "a header but no rows"),
    "one row": ("a,y\n1,2\n", "1 row"),
    "no header": ("5.1,3.5,setosa\n" + simple(), "not the names of the columns"),
    "whole numbers for a header": (
        "7,3,1\n4,2,0\n",
        r"numbers only \(7, 3, 1\).*add a header line above it, such as x1,x2,y",
    ),
    "duplicate columns": ("a,b,a,y\n" + rows(lambda i: "1,2,3,4"), "'a' occurs more than once"),
    "short row": (simple() + "1,2\n", "line 42 has 2 fields, but the header has 3"),
    "short rows": (simple() + "1,2\n3\n", r"line 42 has 2 fields, but the header has 3 \(1 more such line\)"),
    "long row": (simple() + "\n1,2,3,4\n", "line 43 has 4 fields, but the header has 3"),
    "all rows long": ("a,b,y\n" + rows(lambda i: f"{i},1,2,3"), "line 2 has 4 fields"),
    "open quotation mark": (simple() + '"1,2,3\n', "quotation|fields"),
    "marks around several rows": (
        simple() + '"one,2,3\n4,5,6\n"two,8,9\n',
        "begins a cell in line 42 is closed in line 44, in the middle of a text",
    ),
    "one class": (simple(target=lambda i: "a"), r"one value only \(a\)"),
    "a constant": (simple(target=lambda i: 2.5), r"one value only"),
    "missing targets": (simple(target=lambda i: "" if i in (3, 9) else i), r"missing in 2 rows \(lines 5, 11\)"),
    "lines are counted in the file": (
        simple('"x\ny"', lambda i: "" if i == 3 else i),
        r"missing in 1 row \(lines? 8\)",
    ),
    "latin-1": (
        simple("café").encode("latin-1"),
        r"not UTF-8 text \(byte 0xe9 in line 2\); try dataset.encoding=cp1252",
    ),
    "gbk": (simple("中文").encode("gbk"), "try dataset.encoding=gb18030"),
    "utf-16": (simple("中文").encode("utf-16"), "try dataset.encoding=utf-16"),
    "binary": (bytes(range(256)) * 20, "not a text file"),
    "zero bytes": (b"a,\0b,y\n1,2,3\n", "zero bytes"),
    "infinite": (simple("inf"), "'b' is infinite .* in 40 rows"),
    "too large": (simple("1" + "0" * 400), "'b' is infinite or beyond"),
    "an infinite target": (
        simple(target=lambda i: i + 0.5 if i else "inf"),
        r"infinite or too large in 1 rows \(line 2\)",
    ),
    "rare class": (simple(target=lambda i: "rare" if i == 0 else "ab"[i % 2]), "class 'rare' has 1 row.*needs 3"),
    "texts as target": (simple(target=lambda i: f"name {i}"), "40 different texts"),
    "unknown dates": (
        "day,y\n" + rows(lambda i: f"0{i % 9 + 1}.10-2020,{i % 2}"),
        r"'day' \(dates such as 01.10-2020, in an unknown form.*drop=\[day\]",
    ),
    "names": (
        "who,y\n" + rows(lambda i: f"person {i},{i % 2}"),
        r"no columns are left to predict 'y' from \('who' looks like an ID: every value is unique; .*keep=\[who\]",
    ),
    "texts that hardly repeat": (
        "who,y\n" + rows(lambda i: f"person {i % 30},{i % 2}"),
        r"'who' 30 different texts in 40 rows, too many for categories",
    ),
    "typing error": (
        "n,y\n" + rows(lambda i: f"{'2x' if i == 7 else i},{i % 2}"),
        r"1 of 40 values are not, such as '2x' in line 9.*drop=\[n\].*categorical=\[n\]",
    ),
    "target alone": ("y\n" + rows(lambda i: str(i % 2)), "no columns are left"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(tmp_path, fault):
    content, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as error:
        table(tmp_path, content).prepare()
    assert "a.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": "z"}, "no column 'z' .dataset.target.; columns: age, b, y"),
        ({"target": "agee"}, "did you mean age"),
        ({"drop": ["c"]}, "dataset.drop"),
        ({"drop": "y"}, "'y' is the target"),
        ({"categorical": ["ag"]}, "no column 'ag' .dataset.categorical.; did you mean age"),
        ({"encoding": "utf-99"}, "no such encoding"),
        ({"separator": ";;"}, "one character"),
        ({"problem": "ranking"}, "choose auto"),
        ({"split": {"train": 30, "val": 10, "test": 10}}, "40 rows, too few"),
    ],
)
def test_faulty_options(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, "age,b,y\n" + rows(lambda i: f"{i},1,{i % 2}"), **options).prepare()
    with pytest.raises(DataError, match="regression needs numbers"):
        table(tmp_path, simple(target=lambda i: "ab"[i % 2]), problem="regression").prepare()


def test_faulty_paths(tmp_path):
    table(tmp_path, simple(), "houses.csv")
    table(tmp_path, b"PAR1 but nothing else", "x.parquet")
    for path, message in (
        (tmp_path / "house.csv", "no such file; did you mean houses.csv"),
        (tmp_path, "is a directory.*houses.csv"),
        (tmp_path / "none" / "a.csv", "there is no directory"),
        (None, "set dataset.path"),
        (tmp_path / "x.parquet", "not a readable Parquet"),
    ):
        with pytest.raises(DataError, match=message):
            CsvFile(path, "auto", "csv", 1).prepare()
    table(tmp_path, "x", "a.xlsx")
    with pytest.raises(DataError, match="save it as .csv"):
        CsvFile(tmp_path / "a.xlsx", "auto", "csv", 1).prepare()


def test_columns_can_be_forced_and_dropped(tmp_path):
    content = "day,who,code,y\n" + rows(lambda i: f"2020-01-{i % 4 + 1:02},person {i},{i % 3},{i}.5")
    data = table(tmp_path, content, drop=["who"], categorical=["day", "code"])
    assert (
        spec(data)["input_shape"] == [7]
        and data.features["row"].kinds == [["day", "category"], ["code", "category"]]
        and set(data.examples("train")["row"]["code"]) == {"0", "1", "2"}
    )


def test_ten_thousand_columns(tmp_path):
    x = np.random.default_rng(0).random((60, 10_000)).round(3)
    header = ",".join(f"c{i}" for i in range(10_000)) + ",y\n"
    data = table(tmp_path, header + "".join(",".join(map(str, line)) + f",{i % 2}\n" for i, line in enumerate(x)))
    start = time.process_time()
    assert encoded(data, "train")["features"].shape == (36, 10_000) and spec(data)["input_shape"] == [10_000]
    assert time.process_time() - start < 10  # far above what it takes: a loop over columns would need minutes


@pytest.mark.parametrize("names", ["nan,inf", "NaN,infinity", "1,b", "1_1,1_2"])
def test_names_that_look_like_numbers_are_names(tmp_path, names):
    data = table(tmp_path, names + ",y\n" + rows(lambda i: f"{i},{i},{i % 2}"))
    assert ",".join(data.features["row"].names) == names and data.sizes["train"] == 24


def test_an_array_written_with_its_index_has_a_header(tmp_path):
    pd.DataFrame(np.arange(120).reshape(40, 3) % 2).to_csv(tmp_path / "a.csv")
    data = CsvFile(str(tmp_path / "a.csv"), "auto", "csv", 1)
    assert data.features["row"].names == ["0", "1"] and sum(data.sizes.values()) == 40


def test_columns_are_taken_as_pandas_reads_them(tmp_path):
    """Training columns in other types give the network and the estimator the same numbers; no deprecated calls."""
    data = table(tmp_path, MIXED)
    raw = pd.read_csv(tmp_path / "a.csv").drop(columns="y")
    network, estimator = (make_preprocessor(None, data, **options) for options in ({}, {"estimator": True}))
    for made in (network, estimator):
        expected = made.encode(as_examples(raw, made.inputs))["features"]
        for frame in (raw, raw.astype(object), raw.convert_dtypes(), raw.assign(size=raw["size"].astype(str))):
            np.testing.assert_array_equal(made.encode(as_examples(frame, made.inputs))["features"], expected)
    with pytest.raises(DataError, match="column 'rooms', which was numeric in training, holds 'many' now"):
        as_examples(raw.assign(rooms="many"), network.inputs)
    with pytest.raises(DataError, match="lack the columns colour, rooms"):
        as_examples(raw[["size"]], network.inputs)


def test_a_constant_column_stays_within_the_range_of_the_others(tmp_path):
    """Rounding leaves a standard deviation of about 1e-17 of many 0.1, by which another value would be divided."""
    data = table(tmp_path, "a,b,y\n" + rows(lambda i: f"0.1,{i},{i % 2}", 60))
    made = make_preprocessor(None, data)
    new = pd.DataFrame({"a": [0.1, 0.3], "b": [1.0, 1.0]})
    first, second = made.encode(as_examples(new, made.inputs))["features"]
    assert abs(second[0] - first[0]) < 1


def test_a_refused_value_is_shown_as_a_person_writes_it():
    for kind, written, said in (
        ("boolean", {}, "was boolean in training, holds 2 now"),
        ("date", {"date": "%d.%m.%Y"}, r"was a date in training .in the form %d.%m.%Y., holds 2 now"),
    ):
        with pytest.raises(DataError, match=said):
            as_columns(pd.DataFrame({"x": [2]}), [("x", kind)], {"x": written})
