"""The errors of a served model, as MLflow's server reports them."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from mlrun.errors import DataError


class InvalidRequest(MlflowException, DataError):
    """Rows that the model cannot read. MLflow's server answers status 400 with the message.

    Of any other exception it shows a traceback, with a message that does not say what is wrong.
    """

    def __init__(self, message: str):
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)
