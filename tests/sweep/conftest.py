"""Sweeps as a user starts them, in one workspace with one database; jobs fail on request."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap

import pytest

TROUBLE = '''
import os, signal, time
from mlrun.data.datasets.tables import BundledTable


class Trouble(BundledTable):
    """Iris, unless the environment says that this seed is a bad one: then what `way` asks for happens instead."""

    def __init__(self, way, hold=0.0, **options):
        super().__init__("iris", **options)
        self.way, self.hold = way, hold

    def wait_for_mlflow(self):
        """A process that dies before MLflow has opened its run leaves none."""
        from hydra.core.hydra_config import HydraConfig
        from mlrun.tracking.run_directory import read_record

        end = time.monotonic() + 30
        while "run_id" not in read_record(HydraConfig.get().runtime.output_dir) and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.2)  # until the sweep knows it, too

    def read(self):
        time.sleep(self.hold)
        if os.environ.get("BAD_SEED") == str(self.seed):
            self.wait_for_mlflow()
            if self.way == "raise":
                raise RuntimeError("the sky fell")
            if self.way == "abort":
                os.abort()
            if self.way == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.way == "slow":
                time.sleep(600)
            if self.way == "memory":
                bytearray(1 << 60)
        return super().read()
'''

DATASET = """
# Iris with trouble, for tests.
_target_: trouble.Trouble
problem: classification
facts: [input_shape, num_outputs]
way: fine
hold: 0.0
split: {train: 0.6, val: 0.2, test: 0.2, seed: "${seed}", stratify: true}
batch_size: 16
"""


class Workspace:
    def __init__(self, path, starter):
        self.path, self.starter = path, starter
        (path / "conf" / "dataset").mkdir(parents=True)
        (path / "trouble.py").write_text(TROUBLE)
        (path / "conf" / "dataset" / "trouble.yaml").write_text(DATASET)

    def environment(self, **changes):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "", **changes}
        environment.pop("CUDA_VISIBLE_DEVICES", None) if "CUDA_VISIBLE_DEVICES" not in changes else None
        return environment

    def start(self, *arguments, **changes):
        """A running `mlrun`."""
        command = [sys.executable, "-m", "mlrun", *arguments]
        return subprocess.Popen(
            command, cwd=self.path, env=self.environment(**changes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def mlrun(self, *arguments, timeout=120, **changes):
        """(exit status, stdout, stderr) of a finished `mlrun`."""
        done = self.starter.run(arguments, self.path, self.environment(**changes), timeout)
        return done.returncode, done.stdout, done.stderr

    def jobs(self, directory):
        """Job number -> its last line in the journal."""
        path = self.path / directory / "jobs.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return {entry["number"]: entry for entry in map(json.loads, lines)}

    def runs(self, experiment):
        """(run id, status, tags) of an experiment, straight from the database."""
        with sqlite3.connect(self.path / "mlflow.db") as database:
            rows = database.execute(
                "select run_uuid, status from runs join experiments using (experiment_id) where experiments.name = ?",
                (experiment,),
            ).fetchall()
            return [
                (run, status, dict(database.execute("select key, value from tags where run_uuid = ?", (run,))))
                for run, status in rows
            ]

    def children(self, experiment):
        """(status, tags) of the runs below the one parent, and the parent's."""
        runs = self.runs(experiment)
        parents = [run for run in runs if run[2].get("mlrun.kind") == "sweep"]
        assert len(parents) == 1
        nested = [(status, tags) for _, status, tags in runs if tags.get("mlflow.parentRunId") == parents[0][0]]
        assert len(nested) == len(runs) - 1
        return nested, parents[0][1:]

    def add_python(self, name, text):
        (self.path / name).write_text(textwrap.dedent(text))


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, starter):
    return Workspace(tmp_path_factory.mktemp("sweeps"), starter)
