"""Writes one run to MLflow: takes the messages of `mlrun.tracking.run.Run` and turns them into calls of `MlflowClient`.

It works beside the experiment, in a process of its own or in a thread, so that neither the import of mlflow (about a second)
nor a slow server holds the experiment up.
"""

import getpass
import os
import subprocess
import time
from pathlib import Path

from mlrun.tracking import store

FLUSH_SECONDS = 1.0
FLUSH_POINTS = 500  # MLflow takes up to 1000 metrics a call
PARAMS_A_CALL = 100


class Recorder:
    """One MLflow run from `open` to `close`. Methods are called by name with a message's arguments, in the order of sending."""

    def __init__(self):
        self.uri = self.client = None
        self.run_id = None
        self.children = set()  # runs of this sweep that are under way
        self.points = []
        self.known = set()  # (metric, step) that MLflow has: a resumed run goes through some epochs again
        self.flushed = time.monotonic()
        self.failure = None  # the first thing that MLflow refused after the run was open

    def open(
        self, uri: str, experiment: str, name: str, tags: dict, params: dict, parent: "str | None", work_tree: str, started: int, run_id: "str | None" = None
    ) -> str:
        self.uri, self.client = uri, store.open_client(uri)
        tags = {**tags, **_git_tags(work_tree), "mlflow.source.type": "LOCAL", "mlflow.source.name": "mlrun", "mlflow.user": _user()}
        if parent:
            tags["mlflow.parentRunId"] = parent
        self.experiment_id = store.experiment_id(self.client, experiment)
        if run_id and self._reopened(run_id, tags):
            return run_id
        tags = {key: str(value) for key, value in tags.items()}
        run = self.client.create_run(self.experiment_id, start_time=started, run_name=name, tags=tags)
        self.run_id = run.info.run_id
        self.params(params)
        return self.run_id

    def _reopened(self, run_id: str, tags: dict) -> bool:
        """Goes on with an earlier attempt's run, unless that was deleted. Its parameters stay: they are the same."""
        from mlflow.exceptions import MlflowException

        try:
            if self.client.get_run(run_id).info.lifecycle_stage == "deleted":
                return False
        except MlflowException:
            return False
        self.client.update_run(run_id, status="RUNNING")
        self.run_id = run_id
        data = self.client.get_run(run_id).data
        self.known = {(key, point.step) for key in data.metrics for point in self.client.get_metric_history(run_id, key)}
        for stale in {"error", "mlrun.ended"} & set(data.tags):
            self.client.delete_tag(run_id, stale)
        self.tags(tags)
        return True

    def child(self, run_id: str) -> None:
        self.children.add(run_id)

    def end_child(self, run_id: str, status: str, reason: str) -> None:
        self.children.discard(run_id)
        if self.client.get_run(run_id).info.status == "RUNNING":
            self.client.set_terminated(run_id, status)
        if reason:
            self.client.set_tag(run_id, "mlrun.ended", reason[:500])

    def params(self, values: dict) -> None:
        from mlflow.entities import Param

        items = [Param(key, str(value)[:6000]) for key, value in values.items()]
        for start in range(0, len(items), PARAMS_A_CALL):
            self.client.log_batch(self.run_id, params=items[start : start + PARAMS_A_CALL])

    def metrics(self, values: dict, step: int, milliseconds: int) -> None:
        from mlflow.entities import Metric

        fresh = {key: value for key, value in values.items() if (key, step) not in self.known}
        self.known.update((key, step) for key in fresh)
        self.points += [Metric(key, value, milliseconds, step) for key, value in fresh.items()]
        if len(self.points) >= FLUSH_POINTS or time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        points, self.points = self.points, []
        for start in range(0, len(points), FLUSH_POINTS):
            self.client.log_batch(self.run_id, metrics=points[start : start + FLUSH_POINTS])
        self.flushed = time.monotonic()

    def tags(self, values: dict) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=digest, source_type="local", source=json.dumps({"uri": source}), profile=profile)
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def artifact(self, path: str, folder: "str | None") -> None:
        """A file or a whole directory."""
        if Path(path).is_dir():
            self.client.log_artifacts(self.run_id, path, folder)
        else:
            self.client.log_artifact(self.run_id, path, folder)

    def model(self, directory: str, example, prediction, requirements: "list[str]", flavors: "dict[str, dict]", columns=None) -> None:
        """Logs the learner saved in `directory` as the MLflow model `model`, with signature and input example.

        columns: (name, kind) of a table whose columns differ in type, None where the input is an array of numbers.
        """
        import shutil
        import tempfile

        import mlflow.pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        logged = self.client.create_logged_model(self.experiment_id, name="model", source_run_id=self.run_id)
        metadata = {"columns": dict(columns)} if columns else None  # the signature cannot tell their kinds
        model = Model(run_id=self.run_id, model_id=logged.model_id, artifact_path=logged.artifact_location, metadata=metadata)
        inside = f"data/{Path(directory).name}"
        for flavor, files in flavors.items():
            model.add_flavor(flavor, **{key: f"{inside}/{value}" if key.endswith("_model") else value for key, value in files.items()})
        made = Path(tempfile.mkdtemp()) / "model"
        try:
            mlflow.pyfunc.save_model(
                made,
                loader_module="mlrun.serving",
                data_path=directory,
                mlflow_model=model,
                signature=_signature(example, prediction, columns),
                input_example=example,
                pip_requirements=requirements,
            )
            self.client.log_model_artifacts(logged.model_id, str(made))
            self.client.finalize_logged_model(logged.model_id, "READY")
            self.client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, 0)])
        finally:
            shutil.rmtree(made.parent, ignore_errors=True)

    def close(self, status: str) -> None:
        self.flush()
        self.client.set_terminated(self.run_id, status)
        store.settle(self.uri)


def _signature(example, prediction, columns):
    """An array's shape and type, or the names of a table's columns, all required.

    Columns are of any type: MLflow's `double` refuses int64, booleans and a lone None, which pandas makes of the same column
    in another file or in a single row, and the learner converts them anyway.
    """
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    if columns is None:
        return infer_signature(example, prediction)
    inputs = Schema([ColSpec(AnyType(), name) for name, _ in columns])
    return ModelSignature(inputs, infer_signature(model_output=prediction).outputs)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _git_tags(work_tree: str) -> dict:
    """Commit and dirty flag of the user's work tree; empty outside of one."""

    def git(*arguments):
        return subprocess.run(["git", "-C", work_tree, *arguments], capture_output=True, text=True, timeout=5)

    try:
        head = git("rev-parse", "HEAD")
        if head.returncode != 0:
            return {}
        dirty = bool(git("status", "--porcelain", "--untracked-files=no").stdout.strip())
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"mlflow.source.git.commit": head.stdout.strip(), "git.dirty": str(dirty).lower()}


def serve(receive, reply) -> None:
    """Carries messages `(method, arguments)` out until one closes the run. `receive` returns None when the experiment is gone.

    Replies once after `open` and once after `close`: `(value, error message or None)`.
    """
    recorder = Recorder()
    while (message := receive()) is not None:
        method, arguments = message
        if recorder.run_id is None and method != "open":
            continue  # opening failed and was reported
        try:
            value = getattr(recorder, method)(*arguments)
            error = None
        except Exception as problem:  # whatever a server or a disk does, the experiment goes on and hears of it at its end
            value, error = None, f"{type(problem).__name__}: {problem}"
            recorder.failure = recorder.failure or f"{method}: {error}"
            if method == "open" and recorder.run_id is not None:
                recorder.client.set_terminated(recorder.run_id, "FAILED")
        if method == "open":
            reply((value, error))
            if error:
                return
        elif method == "close":
            return reply((recorder.run_id, recorder.failure))
    if recorder.run_id is not None:  # killed without a chance to say so
        for child in list(recorder.children):
            recorder.end_child(child, "KILLED", "the sweep's process disappeared")
        recorder.tags({"mlrun.ended": "the process disappeared"})
        recorder.close("KILLED")
