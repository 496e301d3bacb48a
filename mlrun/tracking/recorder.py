"""Writes one run to MLflow: turns the messages of `mlrun.tracking.run.Run` into calls of `MlflowClient`.

It works in a separate process or thread, so that neither the import of mlflow (about a second) nor a slow server delays the experiment.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.tracking import store
from mlrun.tracking.directions import REJECTED
from mlrun.tracking.run_directory import read_record

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

FLUSH_SECONDS = 1.0
FLUSH_POINTS = 500  # MLflow accepts up to 1000 metrics per call
PARAMS_PER_CALL = 100
WIDE = 2000  # columns of a table
KEY = "mlrun.key"  # tag that finds a run of whose creation the answer was lost


class Recorder:
    """One MLflow run from `open` to `close`. Methods are called by name with a message's arguments, in the order of sending.

    Args:
        once: whether a metric has one value per step, the first that was sent; otherwise later values are added.
    """

    uri: str  # `uri`, `client` and `experiment_id` are set by `open` or `attach`, before any other message
    client: MlflowClient
    experiment_id: str

    def __init__(self, once: bool = False):
        self.run_id: str | None = None
        self.once = once
        self.children: set[str] = set()  # unfinished runs of this sweep
        self.points: list[Metric] = []  # not sent yet
        self.known: set[tuple[str, int]] = set()  # (metric, step) that MLflow has: a resumed run repeats some epochs
        self.flushed = time.monotonic()
        self.gone: list[str] = []  # files that were removed before they were sent
        self.failure: str | None = None  # the first message that MLflow refused after the run was open
        self.unreachable: str | None = None  # why MLflow does not answer at the moment

    def open(
        self,
        uri: str,
        experiment: str,
        name: str,
        tags: dict[str, Any],
        params: dict[str, Any],
        parent: str | None,
        work_tree: str,
        started: int,
        run_id: str | None = None,
    ) -> str:
        """Creates or reopens the run. May be called again after a failure: the run is created once.

        Args:
            uri: of the tracking store.
            parent: run id of the parent, or the absolute path of the directory of a run.
            work_tree: directory whose Git commit is recorded.
            started: milliseconds since 1970.
            run_id: of an earlier attempt, which is reopened.

        Returns:
            The run's id.
        """
        self.uri, self.client = uri, store.open_client(uri)
        tags = {
            **tags,
            **_git_tags(work_tree),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": "mlrun",
            "mlflow.user": _user(),
        }
        if parent:
            tags["mlflow.parentRunId"] = _id_of(parent) if os.path.isabs(parent) else parent
        tags = {key: str(value) for key, value in tags.items()}
        self.experiment_id = store.experiment_id(self.client, experiment)
        earlier = run_id or self.run_id or self._created(tags.get(KEY))
        if earlier and self._reopened(earlier, tags):
            if not run_id:
                self.params(params)
            return earlier
        run = self.client.create_run(self.experiment_id, start_time=started, run_name=name, tags=tags)
        self.run_id = run.info.run_id
        self.params(params)
        return self.run_id

    def attach(self, uri: str, run_id: str) -> None:
        """Continues to write to a run without reopening it. Raises MlflowException if it does not exist."""
        self.uri, self.client = uri, store.open_client(uri)
        run = self.client.get_run(run_id)
        self.run_id, self.experiment_id = run_id, run.info.experiment_id
        self.known = {
            (key, point.step) for key in run.data.metrics for point in self.client.get_metric_history(run_id, key)
        }

    @property
    def _id(self) -> str:
        if self.run_id is None:
            raise RuntimeError("the run is not open")
        return self.run_id

    def _created(self, key: str | None) -> str | None:
        """The id of a run that was created although the answer was lost."""
        found = key and self.client.search_runs([self.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
        return found[0].info.run_id if found else None

    def _reopened(self, run_id: str, tags: dict[str, str]) -> bool:
        """Reopens the run of an earlier attempt, unless it was deleted. Its parameters stay: they are the same."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if is_unreachable(error):
                raise
            return False
        if run.info.lifecycle_stage == "deleted":
            return False
        self.client.update_run(run_id, status="RUNNING")
        self.run_id = run_id
        if self.once:
            self.known |= {
                (key, point.step) for key in run.data.metrics for point in self.client.get_metric_history(run_id, key)
            }
        for stale in {"error", "mlrun.ended", REJECTED} & set(run.data.tags):
            self.client.delete_tag(run_id, stale)
        self.tags(tags)
        return True

    def child(self, run_id: str) -> None:
        """A run of this sweep has started."""
        self.children.add(run_id)

    def end_child(self, run_id: str, status: str, reason: str) -> None:
        """A run of this sweep has ended. status: for a run that could not close itself."""
        self.children.discard(run_id)
        if self.client.get_run(run_id).info.status == "RUNNING":
            self.client.set_terminated(run_id, status)
        if reason:
            self.client.set_tag(run_id, "mlrun.ended", reason[:500])

    def end_lost_child(self, directory: str, status: str, reason: str) -> None:
        """As `end_child`, for a run whose process died before it could report the run's id. directory: where the run wrote."""
        for run in self.client.search_runs(
            [self.experiment_id], f"tags.`mlflow.parentRunId` = '{self.run_id}' and attributes.status = 'RUNNING'"
        ):
            if run.data.tags.get("directory") == directory:
                self.end_child(run.info.run_id, status, reason)

    def params(self, values: dict[str, Any]) -> None:
        from mlflow.entities import Param

        items = [Param(key, str(value)[:6000]) for key, value in values.items()]
        for start in range(0, len(items), PARAMS_PER_CALL):
            self.client.log_batch(self._id, params=items[start : start + PARAMS_PER_CALL])

    def metrics(self, values: dict[str, float], step: int, milliseconds: int) -> None:
        from mlflow.entities import Metric

        if self.once:
            values = {key: value for key, value in values.items() if (key, step) not in self.known}
            self.known.update((key, step) for key in values)
        self.points += [Metric(key, value, milliseconds, step) for key, value in values.items()]
        if len(self.points) >= FLUSH_POINTS or time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Sends the points. After a failure they are sent again; MLflow stores a point with the same time only once."""
        for start in range(0, len(self.points), FLUSH_POINTS):
            self.client.log_batch(self._id, metrics=self.points[start : start + FLUSH_POINTS])
        self.points.clear()
        self.flushed = time.monotonic()

    def tags(self, values: dict[str, Any]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(self._id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name, digest=digest, source_type="local", source=json.dumps({"uri": source}), profile=profile
        )
        self.client.log_inputs(self._id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def artifact(self, path: str, folder: str | None) -> None:
        """Uploads a file or a whole directory. One that was removed in the meantime is noted in `gone`."""
        if not Path(path).exists():
            self.gone.append(path)
        elif Path(path).is_dir():
            self.client.log_artifacts(self._id, path, folder)
        else:
            self.client.log_artifact(self._id, path, folder)

    def model(
        self,
        directory: str,
        example: Any,
        prediction: Any,
        requirements: list[str],
        flavors: dict[str, dict[str, Any]],
        columns: list[tuple[str, str]] | None = None,
        description: str | None = None,
    ) -> None:
        """Logs the learner saved in `directory` as the MLflow model `model`, with signature and input example.

        A table of more than WIDE columns has no example: MLflow takes five times as long to write one, column by column.

        Args:
            example: rows as the model accepts them; prediction: what it answers to them.
            requirements: of pip.
            flavors: MLflow flavor -> its entries; files are relative to `directory`.
            columns: (name, kind) of a table whose columns differ in type; None if the input is an array of numbers.
            description: of the model, in Markdown.
        """
        import shutil
        import tempfile

        import mlflow.pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        if not Path(directory).exists():
            self.gone.append(directory)
            return
        if self.once:  # models of an earlier attempt may lack their files
            outputs = self.client.get_run(self._id).outputs
            for output in outputs.model_outputs if outputs else ():
                self.client.delete_logged_model(output.model_id)
        run = self.client.get_run(self._id)
        # MLflow finds `runs:/ID/model` by this name, so the run's own name is a tag
        tags: dict[str, str] = {
            key: run.data.tags[key] for key in ("model", "dataset", "family") if key in run.data.tags
        }
        if description:
            tags["mlflow.note.content"] = description
        logged = self.client.create_logged_model(
            self.experiment_id, name="model", source_run_id=self.run_id, tags={"run": str(run.info.run_name), **tags}
        )
        is_wide = columns is not None and len(columns) > WIDE
        # the signature cannot express the kinds of the columns
        metadata = {"columns": dict(columns)} if columns and not is_wide else None
        model = Model(
            run_id=self.run_id, model_id=logged.model_id, artifact_path=logged.artifact_location, metadata=metadata
        )
        inside = f"data/{Path(directory).name}"
        for flavor, files in flavors.items():
            model.add_flavor(
                flavor,
                **{key: f"{inside}/{value}" if key.endswith("_model") else value for key, value in files.items()},
            )
        local = Path(tempfile.mkdtemp()) / "model"
        try:
            mlflow.pyfunc.save_model(
                local,
                loader_module="mlrun.predictions.serving",
                data_path=directory,
                mlflow_model=model,
                signature=_signature(example, prediction, columns),
                input_example=None if is_wide else example,
                pip_requirements=requirements,
            )
            self.client.log_model_artifacts(logged.model_id, str(local))
            self.client.finalize_logged_model(logged.model_id, "READY")
            self.client.log_outputs(self._id, [LoggedModelOutput(logged.model_id, 0)])
        finally:
            shutil.rmtree(local.parent, ignore_errors=True)

    def close(self, status: str) -> None:
        """Ends the run. status: FINISHED, FAILED or KILLED."""
        self.flush()
        self.client.set_terminated(self._id, status)
        store.settle(self.uri)


def _signature(example: Any, prediction: Any, columns: list[tuple[str, str]] | None) -> ModelSignature:
    """An array's shape and type, or the names of a table's columns, all required.

    Columns accept any type: MLflow's `double` refuses int64, booleans and a lone None. pandas produces these from the same column
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


def _git_tags(work_tree: str) -> dict[str, str]:
    """Commit and dirty flag of a Git work tree; empty outside of one."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", work_tree, *arguments], capture_output=True, text=True, timeout=5)

    try:
        head = git("rev-parse", "HEAD")
        if head.returncode != 0:
            return {}
        dirty = bool(git("status", "--porcelain", "--untracked-files=no").stdout.strip())
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"mlflow.source.git.commit": head.stdout.strip(), "git.dirty": str(dirty).lower()}


def is_unreachable(error: BaseException) -> bool:
    """Whether the server, the network or the database failed, rather than refused the request."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
    if isinstance(error, OSError):
        return not isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
    return type(error).__module__.partition(".")[0] in (
        "requests",
        "urllib3",
        "sqlalchemy",
        "sqlite3",
        "psycopg2",
        "botocore",
    )


def is_conflict(error: BaseException) -> bool:
    """Whether another process wrote the same row of the database at the same moment, such as that of a dataset."""
    return any(text in str(error) for text in ("UNIQUE constraint failed", "duplicate key value", "Duplicate entry"))


def _id_of(directory: str) -> str:
    """The run id recorded in a run's directory. Raises ConnectionError while MLflow has not given that run an id."""
    run_id = read_record(directory).get("run_id")
    if run_id is None:
        raise ConnectionError(f"the run in {directory}, to which this run belongs, is not recorded yet")
    return run_id
