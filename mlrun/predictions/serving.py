"""The entry point by which MLflow loads a logged model: `mlflow.pyfunc.load_model("runs:/ID/model")` and `mlflow models serve`.

A model that another user has trained and that can run code is refused, unless the environment variable MLRUN_TRUST is 1.
"""

from __future__ import annotations

import os
from typing import Any

from mlrun.data.inputs import as_examples
from mlrun.errors import UserError
from mlrun.predictions.learner import Learner, load_learner

TRUST = "MLRUN_TRUST"


class Served:
    """A learner behind MLflow's interface: takes raw rows as in the dataset, returns labels, values or dicts."""

    def __init__(self, learner: Learner):
        self.learner = learner

    def predict(self, model_input: Any) -> Any:
        """model_input: an array or a table of the model's inputs. Raises InvalidRequest, which is a DataError."""
        try:
            return self.learner.predict(as_examples(model_input, self.learner.inputs)).answers()
        except UserError as error:
            from mlrun.tracking.served import InvalidRequest

            raise InvalidRequest(str(error)) from error


def _load_pyfunc(data_path: str) -> Served:
    """MLflow's loader interface."""
    try:
        return Served(load_learner(data_path, trust=os.environ.get(TRUST) == "1"))
    except UserError as error:
        raise UserError(str(error).replace("trust=true", f"{TRUST}=1 to the environment")) from None
