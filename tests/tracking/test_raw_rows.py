"""What a logged model of a table takes: rows as pandas reads them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mlrun.tracking.store import tracking_uri


def raw_file(path, rows=80):
    """A column of every kind, gaps that begin after the rows that an input example shows, and numbers for categories."""
    i = np.arange(rows)
    frame = pd.DataFrame(
        {
            "size": i,  # whole numbers without a gap
            "rooms": np.where(i % 7, i % 4, np.nan),
            "price": i * 1.5,
            "garden": i % 2 == 0,  # booleans
            "cellar": np.where(i % 5, i % 3 == 0, None),  # with gaps
            "mark": np.where(i % 6, i % 9, "?"),  # our reading takes "?" as missing, pandas as a text
            "colour": np.where(i % 3, np.where(i % 2, "red", "blue"), None),
            "note": np.where(i == 40, "old", None),  # missing almost everywhere
            "zip": 1000 + i % 3,  # numbers as categories
            "door": np.where(i % 4, i % 3, np.nan),
            "y": np.where(i % 2, "no", "yes"),
        }
    )
    frame.to_csv(path, index=False)
    return pd.read_csv(path).drop(columns="y")


@pytest.mark.parametrize("model", [["model=decision_tree"], ["model=mlp", "trainer.max_epochs=2"]])
def test_a_logged_model_takes_the_rows_of_its_file_in_every_form(experiment, workplace, model):
    import mlflow
    from mlflow.pyfunc import scoring_server

    raw = raw_file(workplace / "houses.csv")
    result = experiment(
        *model, "dataset=csv", f"dataset.path={workplace / 'houses.csv'}", "dataset.categorical=[zip,door]"
    )
    assert result.recorded
    mlflow.set_tracking_uri(tracking_uri())
    loaded = mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model")
    assert loaded.metadata.get_input_schema().input_names() == list(raw.columns) and loaded.metadata.get_output_schema()
    assert loaded.metadata.metadata["columns"]["zip"] == "category" and len(loaded.predict(loaded.input_example)) == 5

    expected = loaded.predict(raw)
    assert len(expected) == len(raw) and set(expected) == {"no", "yes"}
    rows = [0, 1, 5, 12, 40]
    for row in rows:  # a column of one value has another type
        assert loaded.predict(raw.iloc[[row]]) == loaded.predict(raw.iloc[[row]].astype(object)) == expected[row]
    np.testing.assert_array_equal(loaded.predict(raw.convert_dtypes()), expected)
    other = raw.astype({"size": float, "zip": float, "garden": int, "price": "float32"})[raw.columns[::-1]]
    np.testing.assert_array_equal(loaded.predict(other), expected)
    gaps = raw.assign(size=np.nan, garden=None, zip=np.nan, price=3)
    assert len(loaded.predict(gaps)) == len(raw)

    for chosen in (slice(None), slice(0, 1)):  # a served model's request, as JSON
        records = raw.iloc[chosen].to_json(orient="records")
        np.testing.assert_array_equal(loaded.predict(pd.DataFrame(json.loads(records))), expected[chosen])
        request, _ = scoring_server._split_data_and_params(f'{{"dataframe_records": {records}}}')
        parsed = scoring_server.infer_and_parse_data(request, loaded.metadata.get_input_schema())
        np.testing.assert_array_equal(loaded.predict(parsed), expected[chosen])


def test_a_row_that_cannot_be_used_is_refused_by_name(experiment, workplace):
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    raw = raw_file(workplace / "houses.csv")
    result = experiment("model=decision_tree", "dataset=csv", f"dataset.path={workplace / 'houses.csv'}")
    mlflow.set_tracking_uri(tracking_uri())
    loaded = mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model")
    with pytest.raises(Exception, match="size.*numeric.*'many'"):
        loaded.predict(raw.assign(size="many"))
    with pytest.raises(Exception, match="zip"):
        loaded.predict(raw.drop(columns="zip"))
    request = json.dumps({"dataframe_records": json.loads(raw.assign(size="many").to_json(orient="records"))})
    with pytest.raises(MlflowException) as refused:
        scoring_server.invocations(request, "application/json", loaded, loaded.metadata.get_input_schema())
    assert refused.value.get_http_status_code() == 400
    answer = json.loads(refused.value.serialize_as_json())
    assert "column 'size', which was numeric in training, holds 'many' now" in answer["message"]
    assert "stack_trace" not in answer


def test_a_wide_table_is_logged_without_an_example(experiment, workplace, monkeypatch):
    import mlflow

    raw = raw_file(workplace / "houses.csv")
    monkeypatch.setattr("mlrun.tracking.recorder.WIDE", raw.shape[1] - 1)
    result = experiment("model=decision_tree", "dataset=csv", f"dataset.path={workplace / 'houses.csv'}")
    mlflow.set_tracking_uri(tracking_uri())
    loaded = mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model")
    assert loaded.input_example is None and len(loaded.predict(raw)) == len(raw)
