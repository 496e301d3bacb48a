"""`mlrun predict`: every row answered or told, whatever the file; the same answers as the learner's own."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mlrun.cli import dispatch, main
from mlrun.data.datasets.tables import FEATURES, read_bundled
from mlrun.data.features import Row
from mlrun.data.inputs import as_examples
from mlrun.data.predictions import LabelPredictions, ValuePredictions
from mlrun.data.readers.row_pieces import Rejected
from mlrun.data.rows import Piece, read_rows
from mlrun.errors import DataError, UserError
from mlrun.experiment.stored import open_run
from mlrun.predictions.writer import Sink
from tests.conftest import REPOSITORY
from tests.practice.conftest import ESTIMATOR, IMAGES, NETWORK

NAMES = FEATURES["iris"]


def flowers(count=150):
    x = read_bundled("iris")[0]
    return pd.DataFrame(np.resize(x, (count, 4)), columns=NAMES)


@pytest.mark.parametrize("overrides", [NETWORK, ESTIMATOR])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "jsonl"])
def test_same_answers_from_all_formats(finished, tmp_path, overrides, suffix, capsys):
    run, table, source, output = (
        finished(*overrides),
        flowers(),
        tmp_path / f"我的 flowers.{suffix}",
        tmp_path / "out put" / "answers.parquet",
    )
    if suffix == "parquet":
        table.to_parquet(source)
    elif suffix == "jsonl":
        source.write_text(table.to_json(orient="records", lines=True))
    else:
        table.to_csv(source, index=False)
    assert dispatch(["predict", str(run), str(source), "--output", str(output)]) == 0
    found = pd.read_parquet(output)
    learner = open_run(str(run))[1]
    predictions = learner.predict(as_examples(table.to_numpy(), learner.inputs))
    assert found["prediction"].tolist() == predictions.answers().tolist()
    assert np.allclose(found[[f"probability_{label}" for label in range(3)]], predictions.probabilities, atol=1e-6)
    assert found["row"].tolist() == list(range(2, 152) if suffix.startswith("csv") else range(1, 151))


def test_booleans_are_written_as_their_probabilities_are_named(finished, tmp_path):
    table = flowers().assign(large=["True" if row % 3 else "False" for row in range(150)])
    table.to_csv(tmp_path / "flowers.csv", index=False)
    run = finished(*ESTIMATOR[:1], "dataset=csv", f"dataset.path={tmp_path / 'flowers.csv'}", "dataset.target=large")
    assert dispatch(["predict", str(run), str(tmp_path / "flowers.csv"), "--output", str(tmp_path / "out.csv")]) == 0
    found = pd.read_csv(tmp_path / "out.csv", dtype=str)
    assert set(found["prediction"]) <= {"True", "False"}
    assert [f"probability_{value}" for value in ("False", "True")] == [name for name in found if "probability" in name]


def test_bad_rows_are_told_and_kept(finished, tmp_path, capsys):
    lines = flowers().to_csv(index=False, lineterminator="\n").rstrip("\n").split("\n")
    bad = {4: "1,2,3", 9: "1,2,3,4,5", 20: "1,2,wide,4", 33: "1,,3,4", 40: "1e400,2,3,4", 41: "1,2,\xff,4"}
    for line, text in bad.items():
        lines[line - 1] = text
    lines.insert(60, "")  # a blank line is nobody's row
    lines[80] = '"5.1",3.5,1.4,0.2'
    source = tmp_path / "bad.csv"
    source.write_bytes("\n".join(lines).encode("latin-1"))
    assert dispatch(["predict", str(finished(*NETWORK)), str(source), "--output", str(tmp_path / "out.csv")]) == 0
    rejected = pd.read_csv(tmp_path / "out.rejected.csv")
    assert rejected["place"].tolist() == list(bad)
    assert (
        "3 fields" in rejected["reason"][0]
        and "'wide', not a number" in rejected["reason"][2]
        and rejected["row"][0] == "1,2,3"
    )
    answered = pd.read_csv(tmp_path / "out.csv")
    assert len(answered) + len(rejected) == 150 and not set(answered["row"]) & set(bad) and 81 in set(answered["row"])
    told = capsys.readouterr().err
    assert "line 4: 3 fields" in told and "6 of 150 rows could not be used" in told


def test_bad_json_lines(finished, tmp_path, capsys):
    record = dict(zip(NAMES, [5.1, 3.5, 1.4, 0.2]))
    texts = [
        json.dumps(record),
        "{",
        "[1]",
        json.dumps({NAMES[0]: 1}),
        json.dumps({**record, NAMES[1]: "x"}),
        "",
        json.dumps(record),
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(texts))
    assert (
        dispatch(
            ["predict", str(finished(*NETWORK)), str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "out.jsonl")]
        )
        == 0
    )
    assert [json.loads(line)["row"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [1, 7]
    assert pd.read_csv(tmp_path / "out.rejected.csv")["place"].tolist() == [2, 3, 4, 5]


def test_json_lines_in_any_order_of_faults(finished, tmp_path, capsys):
    """A piece that pyarrow reads as a whole, one that it cannot, and the same answers from both."""
    record, run = dict(zip(NAMES, [5.1, 3.5, 1.4, 0.2])), str(finished(*NETWORK))
    spaced, extra = json.dumps(record, separators=(" , ", " : ")), json.dumps({"note": [{}], **record})
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.csv"

    def answers(lines):
        source.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
        assert dispatch(["predict", run, str(source), "--output", str(out)]) == 0
        return pd.read_csv(out)

    whole = answers([spaced, extra])
    assert whole["row"].tolist() == [1, 2]
    short, foreign = json.dumps({NAMES[0]: 1}), spaced.encode()[:-1] + b' , "note": "\xff"}'
    missing, text = json.dumps({**record, NAMES[2]: None}), json.dumps({name: str(v) for name, v in record.items()})
    mixed = answers([short, spaced, foreign, missing, text, "{}", extra])
    assert mixed["row"].tolist() == [2, 5, 7]
    assert np.allclose(mixed["probability_0"], whole["probability_0"][0])
    rejected = pd.read_csv(tmp_path / "out.rejected.csv").set_index("place")["reason"]
    assert rejected.index.tolist() == [1, 3, 4, 6]
    assert rejected[3] == "not utf-8 text" and "lacks sepal" in rejected[1] and "no value in petal" in rejected[4]
    answers([spaced])
    assert not (tmp_path / "out.rejected.csv").exists()


def test_a_rare_label_that_needs_quotes(finished, tmp_path):
    """It first occurs after many rows that are written already."""
    label = 'wide, and "tall"'
    (tmp_path / "known.csv").write_text("size,kind\n" + '1,flat\n2,flat\n8,"wide, and ""tall"""\n' * 20)
    run = finished(
        "model=decision_tree", "dataset=csv", f"dataset.path={tmp_path / 'known.csv'}", "dataset.target=kind"
    )
    sizes = [1] * 3000 + [8] + [2] * 1999
    (tmp_path / "new.csv").write_text("size\n" + "".join(f"{size}\n" for size in sizes))
    assert dispatch(["predict", str(run), str(tmp_path / "new.csv"), "--output", str(tmp_path / "out.csv")]) == 0
    answers = pd.read_csv(tmp_path / "out.csv")
    assert answers["row"].tolist() == list(range(2, 5002))
    assert answers["prediction"].tolist() == ["flat"] * 3000 + [label] + ["flat"] * 1999


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("returns", "size;kind\r1;flat\r2;flat\r8;tall\r" + "1;flat\r8;tall\r" * 20, [2, 3, 4]),
        ("breaks", '"size, in\ncm";kind\n1;flat\n2;flat\n8;tall\n' + "1;flat\n8;tall\n" * 20, [3, 4, 5]),
    ],
)
def test_lines_that_end_and_break_in_other_ways(finished, tmp_path, name, text, lines):
    """Carriage returns alone, and a line break within a name of the header."""
    source, out = tmp_path / f"{name}.csv", tmp_path / "out.csv"
    source.write_bytes(text.encode())
    run = finished("model=decision_tree", "dataset=csv", f"dataset.path={source}", "dataset.target=kind")
    assert dispatch(["predict", str(run), str(source), "--output", str(out)]) == 0
    answers = pd.read_csv(out)
    assert answers["row"].tolist()[:3] == lines and len(answers) == 43
    assert answers["prediction"].tolist()[:3] == ["flat", "flat", "tall"]


def test_a_label_is_no_formula_and_no_command_to_the_terminal(finished, tmp_path, monkeypatch, capsys):
    label = '=HYPERLINK("http://x")'
    source, out = tmp_path / "known.csv", tmp_path / "out.csv"
    source.write_text("size,kind\n" + '1,"=HYPERLINK(""http://x"")"\n8,-5\n9,\x1b[31mred\n4,+\n' * 20)
    run = finished("model=decision_tree", "dataset=csv", f"dataset.path={source}", "dataset.target=kind")
    arguments = ["predict", str(run), str(source), "--output"]
    assert dispatch([*arguments, str(out)]) == 0
    assert pd.read_csv(out)["prediction"].tolist()[:4] == [f"'{label}", "-5", "\x1b[31mred", "+"]
    monkeypatch.setenv("MLRUN_CSV_FORMULAS", "1")
    assert dispatch([*arguments, str(out)]) == 0
    assert pd.read_csv(out)["prediction"].tolist()[:2] == [label, "-5"]
    monkeypatch.setattr("sys.argv", ["mlrun", "evaluate", str(run), "--part", "\x1b[31mtest"])
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}", getattr(sys, stream))  # `main` changes them
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr()
    assert "\\x1b[31mtest" in said.err and "\x1b" not in said.out + said.err


def test_a_service_refuses_missing_numbers_as_the_command_does(finished):
    """A network would answer with the first class."""
    from mlrun import load

    model, table = load(finished(*NETWORK)), flowers(3)
    table.iloc[1, 2] = np.nan
    for given in (table, table.to_numpy()):
        with pytest.raises(DataError, match=f"row 2: '{re.escape(NAMES[2])}' is nan: missing, infinite or too large"):
            model.predict(given)


def test_json_lines_have_all_digits(tmp_path):
    values = np.array([1.23456789012e-12, 1 / 3, 1e20, np.nan])
    sink = Sink(str(tmp_path / "out.jsonl"), "jsonl", tmp_path / "rejected.csv")
    sink.write(Piece(None, np.arange(2, 6)), ValuePredictions(values))
    labels = LabelPredictions(['a "b"', "北京"], np.array([0, 1]), np.array([[0.5, 0.5], [1e-12, 1]]))
    sink.write(Piece(None, np.arange(6, 8)), labels)
    sink.finish()
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["prediction"] for row in rows] == [*values[:3], None, 'a "b"', "北京"]
    assert rows[-1]['probability_a "b"'] == pytest.approx(1e-12)


HOUSES = {
    "x": Row(
        [["size", "number"], ["built", "date"], ["note", "category"]],
        decimal=",",
        formats={"built": {"date": "%d.%m.%Y"}},
    )
}


def read_pieces(path, content, features=HOUSES):
    """(values of the first column, rejected rows) of a file."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    pieces = [read() for read in read_rows(str(path), features)]
    sizes = [size for piece in pieces if piece.examples is not None for size in piece.examples["x"]["size"]]
    return sizes, [one for piece in pieces for one in piece.rejected]


@pytest.mark.parametrize(
    ("rows", "open_lines"),
    [
        (['1,5;31.01.2020;"open', "2;31.01.2020;flat", "3;31.01.2020;flat"], [2]),
        (['1;31.01.2020;12" pipe', '2;31.01.2020;"open', "3;31.01.2020;flat", '4;31.01.2020;"a ""b"" c"'], [3]),
        (['1;31.01.2020;"two\nlines"', '2;31.01.2020;"open', "3;31.01.2020;flat"], [4]),
    ],
)
def test_a_quotation_mark_that_is_not_closed_costs_its_own_row(tmp_path, rows, open_lines):
    sizes, rejected = read_pieces(tmp_path / "new.csv", "size;built;note\n" + "\n".join(rows) + "\n")
    assert [one.place for one in rejected] == open_lines and "is not closed" in rejected[0].reason
    assert len(sizes) + len(rejected) == len(rows)


def test_values_in_another_form_than_in_training(tmp_path):
    reasons = [
        one.reason for one in read_pieces(tmp_path / "new.csv", "size;built;note\n1.5;31.01.2020;\n1;31/01/20;\n")[1]
    ]
    assert reasons == [
        "size is '1.5', not a number with a decimal comma, as in training",
        "built is '31/01/20', not a date in the form %d.%m.%Y, as in training",
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("new.json", '[{"size": 1}]', "is JSON as a whole, not JSON lines"),
        ("new.json", '{\n  "size": 1\n}', "is JSON as a whole, not JSON lines"),
        ("new.xlsx", b"PK", "ending in .xlsx is unknown; specify .* or save the file as .csv, .parquet or .jsonl"),
        ("new.csv", "sep=;\nsize;built;note\n", "'sep=;', is a note for Excel"),
        ("new.csv", "size;built;note\n".encode("utf-16"), "the header is not UTF-8 text"),
        ("new.csv", "size;gebäude;note\n".encode("latin-1"), "the header is not UTF-8 text"),
    ],
)
def test_files_of_another_form_are_named_as_such(tmp_path, name, content, said):
    with pytest.raises(DataError, match=said):
        read_pieces(tmp_path / name, content)


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_full_disk_is_one_message(tmp_path, format):
    output = tmp_path / f"out.{format}"
    (tmp_path / f"out.{format}.part").symlink_to("/dev/full")
    sink = Sink(str(output), format, tmp_path / "rejected.csv")
    with pytest.raises(UserError, match=f"out.{format}: cannot be written .No space left on device"):
        sink.write(Piece(None, np.arange(5000)), ValuePredictions(np.arange(5000.0)))
        sink.finish()
    sink.discard()
    (tmp_path / "rejected.csv").symlink_to("/dev/full")
    sink = Sink(str(output), format, tmp_path / "rejected.csv")
    with pytest.raises(UserError, match="rejected.csv: cannot be written .No space left on device.; rows that"):
        sink.write(Piece(None, [], [Rejected(2, "3 fields", "1,2,3")]), None)
        sink.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["rejected.csv"]


def test_the_input_is_not_overwritten(finished, tmp_path):
    source = tmp_path / "new.csv"
    flowers(3).to_csv(source, index=False)
    (tmp_path / "link.csv").symlink_to(source)
    before = source.read_text()
    for options in (["--output", str(tmp_path / "link.csv")], ["--output", "-", "--rejected", str(source)]):
        with pytest.raises(UserError, match="this is the input, which would be overwritten"):
            dispatch(["predict", str(finished(*NETWORK)), str(source), *options])
    assert source.read_text() == before


def test_no_rows(finished, tmp_path, capsys):
    for name, text in (("new.csv", ",".join(NAMES) + "\n"), ("new.jsonl", "")):
        (tmp_path / name).write_text(text)
        assert dispatch(["predict", str(finished(*NETWORK)), str(tmp_path / name)]) == 1
        assert f"{name}: has no rows" in capsys.readouterr().err


def test_pipes(finished, tmp_path):
    command = [sys.executable, "-m", "mlrun", "predict", str(finished(*ESTIMATOR)), "-", "--output", "-"]
    done = subprocess.run(
        command,
        input=flowers(5).to_csv(index=False),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0 and done.stdout.startswith("row,prediction,probability_0"), done.stderr
    assert pd.read_csv(io.StringIO(done.stdout))["prediction"].tolist() == [0] * 5


def test_images(finished, tmp_path, capsys):
    from PIL import Image

    images, _labels = read_bundled("digits")
    for index in range(40):
        Image.fromarray((images[index].reshape(8, 8) / 16 * 255).round().astype(np.uint8)).resize(
            (64, 64), Image.Resampling.NEAREST
        ).save(tmp_path / f"{index:02}.png")
    (tmp_path / "99.png").write_bytes(b"no image")
    run = finished(*IMAGES)
    out = tmp_path / "out.csv"
    assert dispatch(["predict", str(run), str(tmp_path), "--output", str(out)]) == 0
    found = pd.read_csv(out)
    assert found["row"].tolist() == [f"{index:02}.png" for index in range(40)]
    learner = open_run(str(run))[1]
    own = learner.predict(as_examples(images[:40], learner.inputs)).answers()
    assert (found["prediction"] == own).mean() > 0.9
    assert "99.png: not an image" in capsys.readouterr().err


def test_own_columns_of_mixed_kinds(finished, tmp_path, capsys):
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"size": generator.normal(size=200), "colour": generator.choice(["red", "green, dark"], 200)})
    table["kind"] = np.where((table["size"] > 0) & (table["colour"] == "red"), "a,b", "c")
    table.to_csv(finished.folder / "mixed.csv", index=False)
    run = finished("model=decision_tree", "dataset=csv", "dataset.path=mixed.csv", "dataset.target=kind")
    table.loc[7, "size"] = np.nan  # the model knows what to put there
    table.drop(columns="kind").assign(extra=1)[["extra", "colour", "size"]].to_csv(tmp_path / "new.csv", index=False)
    assert dispatch(["predict", str(run), str(tmp_path / "new.csv"), "--output", str(tmp_path / "out.csv")]) == 0
    found = pd.read_csv(tmp_path / "out.csv")
    learner = open_run(str(run))[1]
    assert found["prediction"].tolist() == learner.predict(as_examples(table, learner.inputs)).answers().tolist()
    assert (found["prediction"] == table["kind"]).mean() > 0.95


def test_what_cannot_be_used_at_all(finished, tmp_path):
    run = str(finished(*NETWORK))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "false.parquet").write_text("PAR1")
    for file, said in (
        ("other.csv", "lacks the columns sepal"),
        ("empty.csv", "is empty"),
        ("false.parquet", "not a readable Parquet"),
        ("none.csv", "no such file"),
    ):
        with pytest.raises(DataError, match=said):
            dispatch(["predict", run, str(tmp_path / file), "--output", str(tmp_path / "out.csv")])
        assert not (tmp_path / "out.csv").exists() and not (tmp_path / "out.csv.part").exists()
    with pytest.raises(UserError, match="no input given"):
        dispatch(["predict", run])


def test_memory_does_not_grow_with_rows(finished, tmp_path):
    """Peak memory of 40 times the rows is the same; benchmarks/predict_rows.py does it with ten million."""
    script = "import resource, sys\nfrom mlrun.cli import dispatch\ndispatch(sys.argv[1:])\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    peaks = []
    for rows in (20_000, 800_000):
        flowers(rows).astype(np.float32).to_parquet(tmp_path / "rows.parquet", row_group_size=100_000)
        done = subprocess.run(
            [sys.executable, "-c", script, "predict", str(finished(*NETWORK)), str(tmp_path / "rows.parquet"), "--output", str(tmp_path / "out.parquet")],
            capture_output=True, text=True, timeout=200, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 60
