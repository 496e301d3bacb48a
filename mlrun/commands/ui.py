"""`mlrun ui`: MLflow's web interface to the runs of this directory, on this machine only."""

from __future__ import annotations

import argparse
import os
import sys

SUMMARY = "open MLflow's web interface for the runs of this directory"


def run(argv: list[str]) -> int:
    """Replaces this process by MLflow's server; returns the exit status where the runs are on another server."""
    parser = argparse.ArgumentParser(
        prog="mlrun ui", description="Opens MLflow's web interface for the runs of this directory, on localhost."
    )
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument(
        "--host", default="127.0.0.1", help="change it only on a network that you trust: the page has no password"
    )
    arguments = parser.parse_args(argv)

    from mlrun.config.passwords import masked
    from mlrun.errors import UserError
    from mlrun.tracking.store import sqlite_file, tracking_uri

    uri = tracking_uri()
    if uri.startswith("http"):
        print(f"the runs are on the server {masked(uri)}: open that address in a browser")
        return 0
    database = sqlite_file(uri)
    if database is not None and not database.is_file():
        raise UserError(
            f"there are no runs here: {database} does not exist. Start one with `mlrun`, or go to the directory of your runs."
        )
    print(f"MLflow on http://{arguments.host}:{arguments.port} for {masked(uri)} (Ctrl-C stops it)", flush=True)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--host",
        arguments.host,
        "--port",
        str(arguments.port),
    ]
    # MLflow would start nine more processes, which judge traces of LLM calls.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # the command line is visible to other users
    os.execv(sys.executable, command)
