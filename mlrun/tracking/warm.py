"""Imports what recording a run imports late. Import this module in a process that will be forked for runs.

It leaves nothing open that must not be forked: no client, no engine, no connection.
"""

from __future__ import annotations

import mlflow.models
import mlflow.pyfunc
import mlflow.tracking  # noqa: F401

import mlrun.tracking.delivery  # noqa: F401
from mlrun.tracking.mlflow_internals import import_store

import_store()
