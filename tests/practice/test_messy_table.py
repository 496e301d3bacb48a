"""A table as people keep them, from training to a served model: every row is read everywhere, and read alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mlrun.cli import dispatch
from mlrun.experiment.stored import open_part, open_run
from tests.tracking.test_served_models import ask, free_port

ROWS = 700


def german(value):
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def messy(path):
    """Semicolons, unicode headers, thousands separators, booleans with gaps, dates, an ID, missing targets, 14 % positives."""
    random = np.random.default_rng(1)
    income = random.lognormal(10, 0.6, ROWS)
    age = random.integers(18, 90, ROWS)
    score = np.log(income) + 0.02 * age + 0.3 * random.normal(size=ROWS)
    bought = score > np.quantile(score, 0.86)
    lines = ["Kunden-ID;Einkommen (€);Größe [m²];Alter;geworben?;seit;城市;gekauft"]
    for i in range(ROWS):
        lines.append(
            ";".join(
                (
                    f"K-{100_000 + 7 * i}",
                    german(income[i]),
                    f"{random.uniform(20, 200):.1f}".replace(".", ","),
                    "" if i % 31 == 0 else str(age[i]),
                    "" if i % 13 == 0 else ("True" if random.random() < 0.5 else "False"),
                    ""
                    if i % 53 == 0
                    else f"{random.integers(1, 29):02}.{random.integers(1, 13):02}.{random.integers(2001, 2024)}",
                    ("北京", "München", "'s-Gravenhage, NL")[random.integers(3)],
                    "" if i % 47 == 0 else ("ja" if bought[i] else "nein"),
                )
            )
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


@pytest.fixture(scope="module")
def table(finished):
    path = finished.folder / "我的 Kunden.csv"
    messy(path)
    return path


@pytest.mark.parametrize("model", [("mlp", "optim.lr=0.01", "trainer.max_epochs=15"), ("gradient_boosting",)])
def test_a_messy_table_is_trained_evaluated_and_predicted(finished, table, tmp_path, capsys, model):
    run = finished(
        f"model={model[0]}", *model[1:], "dataset=csv", f"dataset.path='{table}'", "dataset.drop_missing_target=true"
    )
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0.8 < metrics["test/baseline_accuracy"] < 0.9 < metrics["test/roc_auc"]
    assert metrics["test/accuracy"] > metrics["test/baseline_accuracy"] and metrics["test/average_precision"] > 0.5
    cfg, learner = open_run(str(run))
    kinds = dict(learner.inputs["row"].kinds)
    assert kinds == {
        "Einkommen (€)": "number", "Größe [m²]": "number", "Alter": "number", "geworben?": "boolean", "seit": "date", "城市": "category",
    }  # fmt: skip

    assert dispatch(["predict", str(run), str(table), "--output", str(tmp_path / "out.csv")]) == 0
    assert not (tmp_path / "out.rejected.csv").exists()
    answers = pd.read_csv(tmp_path / "out.csv").set_index("row")["prediction"]
    assert list(answers.index) == list(range(2, ROWS + 2))

    from sklearn.metrics import average_precision_score

    data, _ = open_part(cfg, learner, "test")
    assert "ja 14" in dict(data.summary)["target"] and dict(data.summary)["target"].endswith("(positive: ja)")
    found = learner.predict(data.examples("test").only(data.inputs))
    bought = data.examples("test")["label"] == data.target.classes.index("ja")
    expected = average_precision_score(bought, found.probabilities[:, data.target.classes.index("ja")])
    assert metrics["test/average_precision"] == pytest.approx(expected, abs=1e-6)
    for part in ("train", "val", "test"):  # the same answers as from the rows with which it was trained
        data, _ = open_part(cfg, learner, part)
        own = learner.predict(data.examples(part).only(data.inputs)).answers()
        lines = 2 + data._kept[data.rows(part)]
        assert answers.loc[lines].tolist() == list(own)

    dataset = [f"dataset.path='{table}'", "dataset.drop_missing_target=true"]
    assert dispatch(["evaluate", str(run), *dataset]) == 0
    rows = pd.read_csv(table, sep=";").assign(row=range(2, ROWS + 2)).dropna(subset="gekauft")
    right = float((answers.loc[rows["row"]].to_numpy() == rows["gekauft"].to_numpy()).mean())
    assert f"{right:.4f}"[:6] in capsys.readouterr().out

    (tmp_path / "few.csv").write_text("\n".join(table.read_text(encoding="utf-8-sig").splitlines()[: 1 + 5]))
    few = ["evaluate", str(run), f"dataset.path={tmp_path / 'few.csv'}", "dataset.drop_missing_target=true"]
    assert dispatch(few) == 0  # four rows in which every column looks like something else


def test_a_messy_table_is_served(finished, table):
    run = finished(
        "model=gradient_boosting", "dataset=csv", f"dataset.path='{table}'", "dataset.drop_missing_target=true"
    )
    run_id = json.loads((run / "run.json").read_text())["run_id"]
    texts = pd.read_csv(table, sep=";", dtype=str).head(40)
    from mlrun.data.inputs import as_examples

    learner = open_run(str(run))[1]
    expected = list(learner.predict(as_examples(texts, learner.inputs)).answers())
    port = free_port()
    command = [
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        f"runs:/{run_id}/model",
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    server = subprocess.Popen([sys.executable, *command], cwd=finished.folder, env=environment, start_new_session=True)
    try:
        records = json.loads(texts.to_json(orient="records", force_ascii=False))
        answers = ask(server, port, {"dataframe_records": records})
        assert [one["prediction"] if isinstance(one, dict) else one for one in answers] == expected
        typed = {**records[1], "geworben?": True, "Alter": 40, "Einkommen (€)": 27466.9, "seit": "2020-01-31"}
        assert ask(server, port, {"dataframe_records": [typed, {**typed, "geworben?": "true"}]})
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=20)
