"""The entry point by which MLflow loads a logged model: `mlflow.pyfunc.load_model("runs:/ID/model")` and `mlflow models serve`.

A model loaded in this way is trusted, whoever trained it.
"""

from __future__ import annotations

from typing import Any

from mlrun.data.inputs import as_examples
from mlrun.predictions.learner import Learner, load_learner


class Served:
    """A learner behind MLflow's interface: takes raw rows as in the dataset, returns labels, values or dicts."""

    def __init__(self, learner: Learner):
        self.learner = learner

    def predict(self, model_input: Any) -> Any:
        """model_input: an array or a table of the model's inputs. Raises DataError."""
        return self.learner.predict(as_examples(model_input, self.learner.inputs)).answers()


def _load_pyfunc(data_path: str) -> Served:
    """MLflow's loader interface."""
    # loading a model through MLflow is a decision to trust it: MLflow's format runs code anyway
    return Served(load_learner(data_path, trust=True))
