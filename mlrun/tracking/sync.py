"""Sends what MLflow has not got of a run whose process is over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlrun.errors import UserError
from mlrun.tracking.delivery import Delivery
from mlrun.tracking.recorder import is_unreachable
from mlrun.tracking.run_directory import locked, read_record, tracking_address, update_record
from mlrun.tracking.spool import UNSENT, Spool


@dataclass
class Sent:
    run_id: str
    messages: int
    refused: str | None  # what MLflow does not take


def unsent(root: Path | str) -> list[Path]:
    """Directories at or below `root` that hold something to send."""
    return sorted(path.parent for path in Path(root).rglob(UNSENT))


def send(directory: Path, trust: bool = False) -> Sent:
    """Raises UserError while the run goes on, where the server does not answer, and where it refuses the run."""
    with locked(directory, seconds=0):
        record, spool = read_record(directory), Spool(directory)
        uri = tracking_address(record)
        pending = spool.pending(trust)
        delivery = Delivery(spool)
        recorder = delivery.recorder
        try:
            if record.get("run_id"):
                recorder.attach(uri, record["run_id"])
            for number, method, arguments in pending:
                if method == "open":
                    if recorder.run_id is not None:
                        spool.sent([number])
                        continue
                    arguments = (uri, *arguments[1:])
                refused = delivery.add(number, method, arguments)
                if refused is not None:
                    raise refused
                if recorder.unreachable:
                    raise UserError(f"{uri} does not answer: {recorder.unreachable}. What has not arrived is kept")
            if recorder.run_id is None:
                raise UserError(f"{directory}: there is nothing from which its run could be opened")
            update_record(directory, run_id=recorder.run_id)
            delivery.finish()
            if recorder.client.get_run(recorder.run_id).info.status == "RUNNING":  # the process died without a word
                status = record.get("status", "RUNNING")
                recorder.close("KILLED" if status == "RUNNING" else status)
        except UserError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"{uri} {'does not answer' if is_unreachable(error) else 'refuses'}: {text}. What has not arrived is kept"
            ) from error
        if not spool.pending(trust):
            spool.clear()
        return Sent(recorder.run_id, len(pending), recorder.failure)
