"""Import this where processes are forked that will each record a run: what recording imports late, and nothing that must not be forked
(a client, an engine, a connection)."""

from __future__ import annotations

import importlib
from contextlib import suppress

import sqlalchemy.orm

for name in (
    "mlflow.models", "mlflow.pyfunc", "mlflow.tracking", "alembic.autogenerate", "alembic.command", "alembic.script", "cryptography.fernet", "fsspec.implementations.chained",
    "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.store.model_registry.sqlalchemy_store", "sqlalchemy.dialects.sqlite", "tomllib", "mlrun.tracking.delivery",
):  # fmt: skip
    with suppress(ImportError):  # another version of mlflow: it will import what it needs when it needs it
        importlib.import_module(name)
sqlalchemy.orm.configure_mappers()
