"""An MLflow server that tests kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

DATABASE = os.environ.get("MLRUN_TEST_DATABASE")


class Server:
    """MLflow's own server on loopback, over an SQLite file or the database in MLRUN_TEST_DATABASE. It can be killed, and started again at
    the same address."""

    def __init__(self, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", DATABASE or f"sqlite:///{directory}/server.db", "--artifacts-destination",
            str(directory / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip
        self.directory, self.process = directory, None

    def start(self):
        self.process = subprocess.Popen(
            self.command, cwd=self.directory, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # nine processes
        )  # fmt: skip
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                if urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server does not start")

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
