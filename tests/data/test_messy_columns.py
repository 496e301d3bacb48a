"""Columns as people write them: booleans, thousands separators, decimal commas, dates, IDs, missing targets; read alike everywhere."""

from __future__ import annotations

import json
import shlex
from datetime import time

import numpy as np
import pandas as pd
import pytest

from mlrun.config.hydra_internals import parse_override
from mlrun.config.overrides import as_override
from mlrun.data.datasets.csv_file import CsvFile
from mlrun.data.features import restore
from mlrun.data.inputs import as_examples, as_input
from mlrun.data.preprocess.preprocessor import load, make_preprocessor
from mlrun.data.readers.columns import cleaned
from mlrun.data.rows import read_rows
from mlrun.errors import DataError


def table(tmp_path, lines, name="a.csv", **options):
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = CsvFile(str(tmp_path / name), options.pop("problem", "auto"), "csv", 1, **options)
    data.prepare()
    return data


def notes(data):
    return " | ".join(f"{name} {text}" for name, text in data.summary)


def matrix_from_file(path, data, made):
    """What a stored model sees of a file, through JSON as its recipe is kept; no row may be rejected."""
    features = {name: restore(json.loads(json.dumps(data.features[name].state()))) for name in data.inputs}
    pieces = [read() for read in read_rows(str(path), features)]
    assert not [one for piece in pieces for one in piece.rejected]
    return np.concatenate([made.encode(piece.examples)["features"] for piece in pieces])


def assert_read_alike(tmp_path, data, raw):
    """The same numbers from training, from the CSV, from Parquet and JSON lines of its columns, and from texts sent to a service.

    raw: the table as its author holds it.
    """
    whole = data.with_parts({"train": np.arange(len(data.content))})
    made = load(json.loads(json.dumps(make_preprocessor(None, whole).state)))
    expected = made.encode(whole.examples("train").only(data.inputs))["features"]
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(matrix_from_file(data.path, data, made), expected)
    raw.to_parquet(tmp_path / "b.parquet")
    raw.to_json(tmp_path / "b.jsonl", orient="records", lines=True, date_format="iso")
    for name in ("b.parquet", "b.jsonl"):
        np.testing.assert_allclose(matrix_from_file(tmp_path / name, data, made), expected, atol=1e-6)
    texts = pd.read_csv(data.path, sep=None, engine="python", dtype=str)
    for frame in (raw, texts, as_input(whole.examples("train").only(data.inputs))):
        seen = made.encode(as_examples(frame, made.inputs))["features"]
        np.testing.assert_allclose(seen, expected, atol=1e-6)
    return made


@pytest.mark.parametrize("words", [("true", "false"), ("True", "False"), ("TRUE", "FALSE")])
@pytest.mark.parametrize("gaps", [False, True])
def test_booleans_are_read_alike_everywhere(tmp_path, words, gaps):
    held = [None if gaps and i % 6 == 0 else bool(i % 4) for i in range(40)]
    written = ["" if one is None else words[0] if one else words[1] for one in held]
    data = table(tmp_path, ["size,flag,y", *(f"{i},{flag},{i % 2}" for i, flag in enumerate(written))])
    assert data.features["row"].kinds == [["size", "number"], ["flag", "boolean"]]
    made = assert_read_alike(tmp_path, data, pd.DataFrame({"size": range(40), "flag": pd.array(held, dtype="boolean")}))
    zeros_and_ones = pd.DataFrame({"size": [1.0, 1.0], "flag": [0, 1]})
    named = pd.DataFrame({"size": [1.0, 1.0], "flag": [words[1], words[0]]})
    np.testing.assert_array_equal(
        *(made.encode(as_examples(one, made.inputs))["features"] for one in (zeros_and_ones, named))
    )
    with pytest.raises(DataError, match="'flag', which was boolean in training, holds 'maybe' now"):
        as_examples(pd.DataFrame({"size": [1.0], "flag": ["maybe"]}), made.inputs)
    with pytest.raises(DataError, match="'flag', which was boolean in training, holds .*2.* now"):
        as_examples(pd.DataFrame({"size": [1.0], "flag": [2]}), made.inputs)
    with pytest.raises(DataError, match="row 2: 'size' is inf: infinite or too large"):
        as_examples(pd.DataFrame({"size": [None, np.inf], "flag": [1, 0]}), made.inputs)


NUMBERS = {  # separator, how a number is written, the marks
    "german": (";", lambda value: f"{value:,.2f}".translate(str.maketrans(",.", ".,")), (",", ".")),
    "english": (",", lambda value: f'"{value:,.2f}"', (".", ",")),
    "french": (";", lambda value: f"{value:,.2f}".replace(",", "\u202f").replace(".", ","), (",", " ")),
    "swiss": (",", lambda value: f"{value:,.2f}".replace(",", "'"), (".", "'")),
    "decimal commas": (";", lambda value: f"{value:.2f}".replace(".", ","), (",", ".")),
}


@pytest.mark.parametrize("style", NUMBERS)
def test_numbers_as_people_write_them(tmp_path, style):
    separator, written, marks = NUMBERS[style]
    values = np.random.default_rng(0).uniform(100, 99_999, (60, 2)).round(2)
    lines = [separator.join(("area", "rooms", "price"))]
    lines += [separator.join((written(a), str(i % 7), written(b))) for i, (a, b) in enumerate(values)]
    data = table(tmp_path, lines, target="price")
    assert data.problem == "regression" and data.features["row"].kinds == [["area", "number"], ["rooms", "number"]]
    np.testing.assert_array_equal(data.content.columns["row"]["area"], values[:, 0])
    np.testing.assert_array_equal(data.content.columns["value"], values[:, 1])
    assert data.features["row"].written["area"] == {"decimal": marks[0], "thousands": marks[1]}
    example = max((written(value).strip('"') for value in values[:, 0]), key=len)
    assert example in notes(data) and f"decimal mark '{marks[0]}'" in notes(data)
    assert ("thousands separator" in notes(data)) == (style != "decimal commas")
    raw = pd.DataFrame({"area": values[:, 0], "rooms": [i % 7 for i in range(60)]})
    assert_read_alike(tmp_path, data, raw)


def test_the_file_decides_what_a_lone_mark_means(tmp_path):
    grouped = [f"{i + 1}.{i * 13 % 1000:03}" for i in range(40)]
    german = table(tmp_path, ["inhabitants;area;y", *(f"{one};{i},5;{i % 2}" for i, one in enumerate(grouped))])
    expected = [float(one.replace(".", "")) for one in grouped]
    np.testing.assert_array_equal(german.content.columns["row"]["inhabitants"], expected)
    english = table(tmp_path, ["weight,area,y", *(f"{one},{i}.5,{i % 2}" for i, one in enumerate(grouped))])
    np.testing.assert_array_equal(english.content.columns["row"]["weight"], [float(one) for one in grouped])
    lone = ["count,y", *(f'"{one.replace(".", ",")}",{i % 2}' for i, one in enumerate(grouped))]
    np.testing.assert_array_equal(table(tmp_path, lone).content.columns["row"]["count"], expected)
    as_fractions = table(tmp_path, lone, thousands="").content.columns["row"]["count"]
    np.testing.assert_array_equal(as_fractions, [float(one) for one in grouped])


def test_a_new_row_of_whole_thousands_is_read_as_training_would(tmp_path):
    """In a file with decimal commas a column without points may get one later: 1.234 is not a fraction there."""
    data = table(tmp_path, ["n;area;y", *(f"{i};{i},5;{i % 2}" for i in range(40))])
    assert (
        as_examples(pd.DataFrame({"n": ["1.234"], "area": ["2,5"]}), {"row": data.features["row"]})["row"]["n"][0]
        == 1234
    )


DATES = {
    "iso": ("%Y-%m-%d", "year"),
    "german": ("%d.%m.%Y", "day.month.year"),
    "american": ("%m/%d/%Y", "month/day/year"),
    "british": ("%d/%m/%Y", "day/month/year"),
    "words": ("%b %d, %Y", ""),
    "chinese": ("%Y年%m月%d日", ""),
    "moments": ("%d.%m.%Y %H:%M", ""),
}


@pytest.mark.parametrize("style", DATES)
def test_dates_become_features(tmp_path, style):
    form, _ = DATES[style]
    days = pd.date_range("2019-01-20", periods=60, freq="100h" if style == "moments" else "17D")
    lines = ["size;built;y", *(f"{i};{day.strftime(form) if i != 5 else ''};{i % 2}" for i, day in enumerate(days))]
    data = table(tmp_path, lines)
    assert data.features["row"].kinds == [["size", "number"], ["built", "date"]]
    held = data.content.columns["row"]["built"]
    assert held.isna().sum() == 1 and (held.drop(5) == days.delete(5)).all()
    raw = pd.DataFrame({"size": range(60), "built": days.where(days != days[5])})
    made = assert_read_alike(tmp_path, data, raw)
    names = ["size", "built_year", "built_month", "built_day", "built_weekday", "built_elapsed"]
    encoding = made.encoders["row"].encoding
    assert encoding.names == [*names, *["built_hour"] * (style == "moments"), "built_missing"]
    unscaled = make_preprocessor(None, data, estimator=True).encode(data.examples("train").only(["row"]))["features"]
    first = data.examples("train")["row"]["built"].iloc[0]
    parts = [first.year, first.month, first.day, first.weekday(), (first - pd.Timestamp(0)) / pd.Timedelta(days=1)]
    np.testing.assert_allclose(unscaled[0, 1:6], parts)
    assert "1 date" in notes(data)


def test_times_of_day_become_the_hour(tmp_path):
    data = table(tmp_path, ["at,y", *(f"{i % 24:02}:30,{i % 2}" for i in range(40))])
    made = make_preprocessor(None, data)
    assert made.encoders["row"].encoding.names == ["at_hour"]


def test_an_ambiguous_date_is_reported_and_can_be_set(tmp_path):
    lines = ["day,size,y", *(f"{i % 12 + 1:02}/{i % 11 + 1:02}/2020,{i},{i % 2}" for i in range(40))]
    data = table(tmp_path, lines)
    assert "read as month/day/year; if that is wrong: dataset.date_format=%d/%m/%Y" in notes(data)
    assert data.content.columns["row"]["day"].iloc[1] == pd.Timestamp(2020, 2, 2)
    data = table(tmp_path, lines, date_format="%d/%m/%Y")
    assert data.content.columns["row"]["day"].iloc[11] == pd.Timestamp(2020, 1, 12)


def test_ids_are_left_out_with_a_line_that_says_so(tmp_path):
    lines = ["customer_id,who,code,size,y"]
    lines += [f"{1000 + i * 7},person {i},{'abc'[i % 3]},{i},{i % 2}" for i in range(40)]
    data = table(tmp_path, lines)
    assert data.features["row"].names == ["code", "size"]
    assert "customer_id (looks like an ID: every value is unique)" in notes(data)
    assert "who (looks like an ID: every value is unique)" in notes(data)
    assert data.column("who")[3] == "person 3"
    kept = table(tmp_path, lines, keep=["customer_id"])
    assert kept.features["row"].names == ["customer_id", "code", "size"]


def test_rows_without_a_target_are_refused_or_left_out(tmp_path):
    lines = ["size,y", *(f"{i},{'' if i in (3, 9) else 'ab'[i % 2]}" for i in range(40))]
    with pytest.raises(DataError, match=r"missing in 2 rows \(lines 5, 11\).*dataset.drop_missing_target=true"):
        table(tmp_path, lines)
    data = table(tmp_path, lines, drop_missing_target=True)
    assert sum(data.sizes.values()) == 38 and set(data.content.columns["row"]["size"]) == set(range(40)) - {3, 9}
    assert "2 rows without a target" in notes(data)
    with pytest.raises(DataError, match=r"infinite .* \(line 42\)"):
        table(tmp_path, [*lines, "inf,a"], drop_missing_target=True)


def test_rows_without_a_target_of_a_second_file(tmp_path):
    def lines(first):
        return ["size,y", *(f"{first + i},{'' if i == 3 else 'ab'[i % 2]}" for i in range(40))]

    (tmp_path / "dev.csv").write_text("\n".join(lines(100)))
    data = table(tmp_path, lines(0), dev_path=str(tmp_path / "dev.csv"), drop_missing_target=True)
    assert data.examples("train")["row"]["size"].max() < 100 <= data.examples("val")["row"]["size"].min()
    assert data.sizes["train"] == 39 and data.sizes["val"] + data.sizes["test"] == 39


def test_typing_errors_quote_the_file(tmp_path):
    lines = ["price;y", *(f"{'12,5o' if i == 7 else f'{i + 1}.000,5'};{i % 2}" for i in range(40))]
    with pytest.raises(DataError, match=r"numbers, but 1 of 40 values are not, such as '12,5o' in line 9"):
        table(tmp_path, lines)
    lines = ["day;y", *(f"{'31.02.2020' if i == 7 else f'{i % 28 + 1}.01.2020'};{i % 2}" for i in range(40))]
    with pytest.raises(DataError, match=r"dates, but 1 of 40 values are not, such as '31.02.2020' in line 9"):
        table(tmp_path, lines)


NAMES = ["a b", "c[1]", "d,e", "it's", "back\\slash", "größe", "x=y", "null", "12", "f'\\", "{g}", "h:i", "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_suggested_overrides_can_be_pasted(name):
    (word,) = shlex.split(as_override("dataset.drop", [name, "other"]))
    assert parse_override(word).value() == [name, "other"]


def test_forced_categories_are_texts_as_in_the_file(tmp_path):
    lines = ["zip,y", *(f"0{i % 5}0,{i % 2}" for i in range(40))]
    data = table(tmp_path, lines, categorical=["zip"])
    assert set(data.content.columns["row"]["zip"]) == {"000", "010", "020", "030", "040"}
    assert_read_alike(tmp_path, data, pd.DataFrame({"zip": [f"0{i % 5}0" for i in range(40)]}))


def test_missing_words_and_white_space_are_read_alike_everywhere(tmp_path):
    rows = [
        (str(i / 2), ["red", "blue"][i % 2], f"2020-01-{1 + i % 28:02}", ["true", "false"][i % 3 > 0])
        for i in range(40)
    ]
    data = table(
        tmp_path, ["size,colour,day,flag,y", *(f"{','.join(row)},{'uv'[i % 2]}" for i, row in enumerate(rows))]
    )
    made = load(json.loads(json.dumps(make_preprocessor(None, data).state)))
    blank = pd.DataFrame(
        {"size": [np.nan, 1.0], "colour": [None, "red"], "day": [None, "2020-01-05"], "flag": [None, True]}
    )
    expected = made.encode(as_examples(blank, made.inputs))["features"]
    for word in ("", "?", "NA", "#NA", "#N/A N/A", "None", "-NaN"):
        written = pd.DataFrame([[word] * 4, ["1.0 ", "red ", "2020-01-05 ", "true "]], columns=blank.columns)
        seen = [made.encode(as_examples(written, made.inputs))["features"]]
        lines = [",".join(blank.columns), *(",".join(row) for row in written.to_numpy())]
        files = {"plain.csv": lines, "quoted.csv": [*lines, '"1.0","red",2020-01-05,true']}
        for name, content in files.items():
            (tmp_path / name).write_text("\n".join(content) + "\n")
        written.to_parquet(tmp_path / "b.parquet")
        written.to_json(tmp_path / "b.jsonl", orient="records", lines=True)
        seen += [matrix_from_file(tmp_path / name, data, made) for name in (*files, "b.parquet", "b.jsonl")]
        for one in seen:
            np.testing.assert_array_equal(one[:2], expected, err_msg=word)


def test_a_blank_is_no_value_of_the_column(tmp_path):
    """A blank can mean something else than the most frequent value that stands in for it."""
    lines = [f"{cell},{word},{number},{cell == 'true'}" for cell, word, number in
             [("true", "red", 1), ("", "", ""), ("true", "red", 3), ("false", "blue", 5), ("", "red", 7)] * 8]  # fmt: skip
    data = table(tmp_path, ["a,b,c,y", *lines])
    made = make_preprocessor(None, data, estimator=True)
    encoding = made.encoders["row"].encoding
    assert encoding.gaps == ["a", "c", "b"] and encoding.names[-3:] == ["a_missing", "c_missing", "b_missing"]
    x = encoding(pd.DataFrame({"a": [1.0, None], "b": ["red", None], "c": [None, 2.0]}))
    assert x[:, -3:].tolist() == [[0, 1, 0], [1, 0, 1]]
    assert "missing a 40.0%, b 20.0%, c 20.0% (filled with" in notes(data)
    whole = table(tmp_path, ["a,y", *[f"{cell},{cell}" for cell in ("true", "false") * 20]], "whole.csv")
    assert make_preprocessor(None, whole, estimator=True).encoders["row"].names == ["a"]
    assert "missing" not in notes(whole)
    comma = table(tmp_path, ['"a, b",y', *["1,0", ",1", "2,0", "3,1", "4,0"] * 8], "comma.csv")
    assert 'missing "a, b" 20.0%' in notes(comma)


def test_missing_words_are_those_of_pandas(tmp_path):
    texts = pd.Series(["", "#N/A", "#NA", "NULL", "1.#IND", "nan", "nil", "-", "none", "?"])
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{text},1\n" for text in texts))
    theirs = pd.read_csv(tmp_path / "a.csv", na_values=["?"])["a"].isna()
    assert cleaned(texts).isna().tolist() == theirs.tolist()


def test_a_parquet_file_of_texts_is_read_as_its_csv(tmp_path):
    raw = pd.DataFrame({"n": ["1", "?", " 3"] * 20, "k": ["None", "a ", " a"] * 20, "y": ["u", "v ", "v"] * 20})
    raw.to_parquet(tmp_path / "a.parquet")
    raw.to_csv(tmp_path / "a.csv", index=False)
    first, second = (CsvFile(str(tmp_path / f"a.{kind}"), "auto", "csv", 1) for kind in ("parquet", "csv"))
    assert first.features["row"].kinds == second.features["row"].kinds == [["n", "number"], ["k", "category"]]
    pd.testing.assert_frame_equal(first.content.columns["row"], second.content.columns["row"])
    assert first.target.classes == second.target.classes == ["u", "v"]
    assert set(first.content.columns["row"]["k"].dropna()) == {"a"}


def test_classes_that_are_codes_keep_their_digits(tmp_path):
    for codes in (["007", "07", "12"], ["9007199254740992", "9007199254740993", ""]):
        data = table(tmp_path, ["x,y", *(f"{i / 2},{codes[i % 3]}" for i in range(60))], drop_missing_target=True)
        assert data.target.classes == [code for code in codes if code]
    plain = table(tmp_path, ["x,y", *(f"{i / 2},{i % 3}" for i in range(60))])
    assert plain.target.classes == [0, 1, 2]
    chosen = table(
        tmp_path, ["x,y", *(f"{i / 2},{i % 3}.50" for i in range(60))], categorical=["y"], problem="classification"
    )
    assert chosen.target.classes == ["0.50", "1.50", "2.50"]
    words = table(tmp_path, ["x,y", *(f"{i / 2},{['true', 'False ', ' TRUE'][i % 3]}" for i in range(60))])
    assert words.target.classes == [False, True]


def test_a_thousands_separator_decides_the_decimal_mark(tmp_path):
    lines = ["x;y", *(f"{1 + i % 9}.{100 + i};{1 + i % 7}.{200 + i}" for i in range(60))]
    data = table(tmp_path, lines, thousands=".")
    assert data.content.columns["value"].max() > 7000 and data.content.columns["row"]["x"].max() > 9000


def test_other_data_write_the_target_as_in_training(tmp_path):
    data = table(tmp_path, ["colour;y", *(f"{'rg'[i % 2]};{1 + i}.234,5{i % 10}" for i in range(60))])
    features = {name: restore(json.loads(json.dumps(one.state()))) for name, one in data.features.items()}
    for lines, expected in ((["r;1.234", "g;2.500"], [1234, 2500]), (["r;1234,5", "g;7"], [1234.5, 7])):
        (tmp_path / "b.csv").write_text("\n".join(["colour;y", *lines]) + "\n")
        other = CsvFile(
            str(tmp_path / "b.csv"), "auto", "csv", 1, split={"train": 0, "val": 0, "test": None}, drop=["gone"]
        )
        other.follow({"row": features["row"]}, {"value": features["value"]})
        assert other.content.columns["value"].tolist() == expected


def test_whole_numbers_as_categories_are_the_same_with_and_without_a_fraction(tmp_path):
    raw = pd.DataFrame({"code": [1.0, 2.0, None] * 20, "y": ["u", "v", "v"] * 20})
    raw.to_csv(tmp_path / "raw.csv", index=False)  # as 1.0
    data = table(tmp_path, (tmp_path / "raw.csv").read_text().splitlines(), categorical=["code"])
    made = assert_read_alike(tmp_path, data, raw[["code"]])
    whole = made.encode(as_examples(pd.DataFrame({"code": [1, 2]}), made.inputs))["features"]
    np.testing.assert_array_equal(whole, np.eye(2, 3))


def test_a_second_file_that_writes_values_in_another_way_is_refused_with_its_line(tmp_path):
    (tmp_path / "dev.csv").write_text("x;y\n" + "".join(f"{i},5;{'uv'[i % 2]}\n" for i in range(60)))
    with pytest.raises(
        DataError, match=r"'x' \(numbers, but 60 of 120 values are not, such as '0,5' in line 2 of .*dev.csv\)"
    ):
        table(tmp_path, ["x;y", *(f"{i}.5;{'uv'[i % 2]}" for i in range(60))], dev_path=str(tmp_path / "dev.csv"))


def test_columns_that_hold_nothing_are_left_out(tmp_path):
    lines = [",x,blank,y,,", *(f"{(7 * i) % 61},{i / 2},,{'uv'[i % 2]},," for i in range(60))]
    data = table(tmp_path, lines)
    assert data.features["row"].kinds == [["x", "number"]] and data.target.column == "y"
    assert "Unnamed: 0 (looks like an ID" in notes(data) and "blank (no values)" in notes(data)
    made = make_preprocessor(None, data)
    whole = data.with_parts({"train": np.arange(60)}).examples("train").only(data.inputs)
    np.testing.assert_array_equal(matrix_from_file(data.path, data, made), made.encode(whole)["features"])
    kept = table(tmp_path, lines, keep=["Unnamed: 0"])
    assert matrix_from_file(kept.path, kept, make_preprocessor(None, kept)).shape == (60, 2)
    with pytest.raises(DataError, match="the first line, 'sep=;', is a note for Excel; delete this line"):
        table(tmp_path, ["sep=;", "x;y", "1;u"])


def test_what_keeps_numbers_from_being_read_is_reported(tmp_path):
    lines = ["x,share,rate,y", *(f"{i / 2},{i}%,{i % 9 if i % 7 else '-'},{'uv'[i % 2]}" for i in range(60))]
    said = notes(table(tmp_path, lines))
    assert "share (numbers with a unit such as 0%; write them without it to use them)" in said
    assert (
        "'rate' is read as categories: most values are numbers, but 9 of 60 values are not, such as '-' in line 2"
        in said
    )
    with pytest.raises(DataError, match="'y' holds numbers, but 12 of 60 values are not, such as '-' in line 2"):
        table(tmp_path, ["x,y", *(f"{i},{i * 1.5 if i % 5 else '-'}" for i in range(60))])


def test_times_of_day_in_parquet(tmp_path):
    raw = pd.DataFrame({"at": [time(i % 24, 30) for i in range(48)], "y": ["u", "v"] * 24})
    raw.to_parquet(tmp_path / "a.parquet")
    data = CsvFile(str(tmp_path / "a.parquet"), "auto", "csv", 1)
    made = make_preprocessor(None, data)
    (tmp_path / "b.csv").write_text("at\n06:30:00\n")
    expected = made.encode(as_examples(pd.DataFrame({"at": [time(6, 30)]}), made.inputs))["features"]
    np.testing.assert_array_equal(matrix_from_file(tmp_path / "b.csv", data, made), expected)
    assert "(hour)" in notes(data)
