"""What MLflow calls to load a logged model: `mlflow.pyfunc.load_model("runs:/ID/model")` and `mlflow models serve`.

Whoever serves an estimator that another user trained says so with MLRUN_TRUST=1 in the environment.
"""

from __future__ import annotations

from typing import Any

from mlrun.data.inputs import as_examples
from mlrun.predictions.learner import Learner, load_learner


class Served:
    """A learner behind MLflow's interface: raw rows in, as the dataset has them; labels, values or dicts out."""

    def __init__(self, learner: Learner):
        self.learner = learner

    def predict(self, model_input: Any) -> Any:
        """model_input: an array or a table of the model's inputs. Raises DataError."""
        return self.learner.predict(as_examples(model_input, self.learner.inputs)).answers()


def _load_pyfunc(data_path: str) -> Served:
    """MLflow's loader interface."""
    # whoever asks MLflow for a model has decided: its format runs code anyway
    return Served(load_learner(data_path, trust=True))
