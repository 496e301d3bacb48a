"""What MLflow calls to load a logged model: `mlflow.pyfunc.load_model("runs:/ID/model")` and `mlflow models serve`.

Whoever serves an estimator that another user trained says so with MLRUN_TRUST=1 in the environment.
"""

from __future__ import annotations


def _load_pyfunc(data_path: str):
    """MLflow's loader interface: an object with `predict(model_input)`; input rows are raw, as the dataset has them."""
    from mlrun.predictions.learner import load_learner

    # whoever asks MLflow for a model has decided: its format runs code anyway
    return load_learner(data_path, trust=True)
