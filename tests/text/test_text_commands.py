"""Models of texts as a user runs them: a run is recorded with its model, measured again, asked for rows and for a prompt, and served."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.data.features import Text
from mlrun.data.inputs import as_examples
from mlrun.errors import DataError, UserError
from mlrun.experiment.run import run
from mlrun.report import silent
from mlrun.tracking.store import tracking_uri

TRANSLATION = (
    "model=seq2seq_attention", "dataset=parallel_text", "dataset.path=pairs.tsv", "dataset.columns=[1,0]", "dataset.split.val=10",
    "dataset.split.test=10", "dataset.source_tokenizer.lowercase=true", "dataset.target_tokenizer.lowercase=true", "trainer.max_epochs=1",
    "model.beam_width=2", "model.network.hidden=16",
)  # fmt: skip
NGRAM = ("model=ngram", "dataset.path=book.txt", "model.language_model.sample_length=20")
GRU = (
    "model=gru_lm", "dataset.path=book.txt", "model.network.hidden=16", "trainer.max_epochs=2", "model.sample_length=20",
    "dataset.context_length=16", "dataset.batch_size=8",
)  # fmt: skip
SENTENCES = [
    f"{a} {b} {c}."
    for a in ("The cat", "A dog", "No bird")
    for b in ("sees", "hears")
    for c in "a1 b2 c3 d4 e5 f6".split()
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Runs each configuration once, all in one working directory with one database, and gives the results."""
    folder, done = tmp_path_factory.mktemp("texts"), {}
    (folder / "pairs.tsv").write_text(
        "".join(f"{text}\t{' '.join(text.split()[::-1])}\tCC-BY\n" for text in SENTENCES), encoding="utf-8"
    )
    (folder / "book.txt").write_text("".join(f"{text}\n" for text in SENTENCES) * 20, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)

        def start(*overrides):
            if overrides not in done:
                cfg = compose(list(overrides))
                done[overrides] = run(cfg, folder / f"run{len(done)}", list(overrides), report=silent)
            return done[overrides]

        yield start


def answers(result, given, tmp_path, name):
    """Predictions for a file, by its rows."""
    source, output = tmp_path / name, tmp_path / f"{name}.predictions.jsonl"
    source.write_text(given, encoding="utf-8")
    assert dispatch(["predict", str(result.directory), str(source), "--output", str(output)]) == 0
    return [json.loads(line)["prediction"] for line in output.read_text(encoding="utf-8").splitlines()]


def served(result):
    mlflow.set_tracking_uri(tracking_uri())  # an earlier test may have set another store
    return mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model")


def test_pairs_of_a_file_with_columns(finished, tmp_path, capsys):
    result = finished(*TRANSLATION)
    assert result.status == "FINISHED" and {"test/bleu", "test/exact_match", "test/loss", "val/bleu"} <= set(
        result.metrics
    )
    assert {path.name for path in (result.directory / "figures").iterdir()} >= {"translations.csv", "attention.png"}
    sources = [" ".join(text.split()[::-1]) for text in SENTENCES[:3]]
    expected = list(served(result).predict(pd.DataFrame({"source": sources})))
    for column in ("source", "text", "anything"):
        table = pd.DataFrame({column: sources})
        assert answers(result, table.to_csv(index=False), tmp_path, "rows.csv") == expected
        assert answers(result, table.to_json(orient="records", lines=True), tmp_path, "rows.jsonl") == expected
    table = pd.DataFrame({"number": range(3), "text": "not this", "source": sources})
    assert answers(result, table.to_csv(index=False), tmp_path, "rows.csv") == expected
    capsys.readouterr()
    assert dispatch(["evaluate", str(result.directory)]) == 0
    measured = capsys.readouterr().out
    for name in ("test/bleu", "test/exact_match", "test/token_accuracy"):
        assert name in measured
    assert dispatch(["errors", str(result.directory), "--output", str(tmp_path / "errors")]) == 0


def test_other_pairs_are_measured_whole(finished, tmp_path, capsys):
    result = finished(*TRANSLATION)
    (tmp_path / "other.tsv").write_text("A cat\tcat A\nA dog\tdog A\nNo dog\tdog A\n", encoding="utf-8")
    capsys.readouterr()
    assert dispatch(["evaluate", str(result.directory), f"dataset.path={tmp_path / 'other.tsv'}"]) == 0
    rows = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("rows"))
    assert rows.split()[1] == "2"  # distinct sources


@pytest.mark.parametrize("overrides", [NGRAM, GRU], ids=["ngram", "gru"])
def test_language_models(finished, tmp_path, capsys, overrides):
    result = finished(*overrides)
    assert result.status == "FINISHED" and result.metrics["test/perplexity"] < 15
    prompts = ["The cat", "No", "A dog hears e5.\n"]
    expected = list(served(result).predict(pd.DataFrame({"text": prompts})))
    assert all(10 < len(text) <= 20 for text in expected)  # a token may be special
    for column in ("text", "prompt"):
        table = pd.DataFrame({column: prompts})
        assert answers(result, table.to_json(orient="records", lines=True), tmp_path, "prompts.jsonl") == expected
    assert answers(result, pd.DataFrame({"text": prompts[:2]}).to_csv(index=False), tmp_path, "p.csv") == expected[:2]
    capsys.readouterr()
    assert dispatch(["predict", str(result.directory), "--prompt", "The cat"]) == 0
    assert capsys.readouterr().out == f"The cat{expected[0]}\n"
    assert dispatch(["predict", str(result.directory), "--prompt", "The cat", "--length", "5"]) == 0
    shorter = capsys.readouterr().out.removesuffix("\n")
    assert f"The cat{expected[0]}".startswith(shorter) and 8 <= len(shorter) <= 12
    assert dispatch(["evaluate", str(result.directory)]) == 0
    assert f"{result.metrics['test/perplexity']:.2f}"[:3] in capsys.readouterr().out


def test_samples_are_written_whenever_validation_improves(finished):
    result = finished(*GRU)
    text = (result.directory / "figures" / "samples.txt").read_text(encoding="utf-8")
    assert text.startswith("--- epoch 1, validation perplexity ") and text.count("--- epoch") == 2
    kept = json.loads((result.directory / "metrics.json").read_text())["val/perplexity"]
    assert f"epoch {result.best_epoch}, validation perplexity {kept:.3f}\n" in text


BAYES = ("model=multinomial_nb", "dataset=labelled_text", "dataset.path=reviews.csv", "dataset.encoding=latin-1")


def test_the_file_of_the_training_is_read_as_in_training(finished, tmp_path, capsys):
    """Column and encoding; words that would be missing values in a table of numbers; a text per line without a header."""
    rows = "".join(f"{at},{('null', 'café')[at % 2]},{'ab'[at % 2]}\n" for at in range(40))
    Path("reviews.csv").write_text(f"number,body,kind\n{rows}", encoding="latin-1")
    result = finished(*BAYES)
    assert dispatch(["predict", str(result.directory), "reviews.csv", "--output", str(tmp_path / "out.csv")]) == 0
    assert pd.read_csv(tmp_path / "out.csv")["prediction"].tolist() == ["a", "b"] * 20
    lines = "\n".join(json.dumps({"body": text}) for text in ("null", "half \ud83d", "NA"))
    assert len(answers(result, lines, tmp_path, "rows.jsonl")) == 2
    assert "line 2: a text with half a character" in capsys.readouterr().err
    model = served(result)
    assert list(model.predict(pd.DataFrame({"body": pd.array(["null", "NA"], dtype="string")}))) == ["a", "a"]
    with pytest.raises(DataError, match="row 2: no text"):
        model.predict(pd.DataFrame({"body": pd.array(["null", None], dtype="string")}))
    # other names of the columns, and rows of one class alone
    (tmp_path / "few.csv").write_text("text,label\nnull,a\n")
    capsys.readouterr()
    assert dispatch(["evaluate", str(result.directory), f"dataset.path={tmp_path / 'few.csv'}"]) == 0
    assert "test/accuracy" in capsys.readouterr().out
    with pytest.raises(DataError, match="the first line, 'null', would be read as the name of the column of texts"):
        answers(result, "null\nnull\n", tmp_path, "lines.txt")


def test_a_bad_length_is_refused(finished):
    with pytest.raises(UserError, match="--length 0"):
        dispatch(["predict", str(finished(*NGRAM).directory), "--prompt", "A", "--length", "0"])


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA])
def test_a_service_refuses_a_missing_text_as_the_command_does(nothing):
    features = {"text": Text()}
    for given in (["good", nothing], pd.DataFrame({"text": pd.Series(["good", nothing], dtype=object)})):
        with pytest.raises(DataError, match="row 2: no text"):
            as_examples(given, features)
    with pytest.raises(DataError, match="row 1: a list, not a text"):
        as_examples(pd.DataFrame({"text": [["good"]]}), features)
    assert list(as_examples(["good", "", 5], features)["text"]) == ["good", "", "5"]
