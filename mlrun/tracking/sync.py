"""Uploads to MLflow the missing records of a run whose process has ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlrun.config.passwords import masked
from mlrun.errors import UserError
from mlrun.tracking.delivery import Delivery
from mlrun.tracking.recorder import is_unreachable
from mlrun.tracking.run_directory import locked, read_record, tracking_address, update_record
from mlrun.tracking.spool import UNSENT, Spool

KEPT = "Messages that have not arrived are kept"


@dataclass
class Sent:
    run_id: str
    messages: int  # how many were sent
    refused: str | None  # what MLflow does not accept
    gone: list[str]  # files that were removed before they could be sent


def unsent(root: Path | str) -> list[Path]:
    """The run directories at or below `root` with messages to send."""
    return sorted(path.parent for path in Path(root).rglob(UNSENT))


def send(directory: Path, trust: bool = False) -> Sent:
    """Sends what is left in the spool of a run's directory, and closes the run if its process could not.

    Args:
        trust: also read messages that another user wrote, which can run code.

    Raises:
        UserError: the run is still going on, the server does not answer, or it refuses the run.
    """
    with locked(directory, seconds=0):
        record, spool = read_record(directory), Spool(directory)
        uri = tracking_address(record, trust)
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
                    raise UserError(f"{masked(uri)} does not answer: {recorder.unreachable}. {KEPT}")
            if recorder.run_id is None:
                raise UserError(f"{directory}: its record is incomplete, so its MLflow run cannot be opened")
            update_record(directory, run_id=recorder.run_id)
            delivery.finish()
            # the process died and could not close its run
            if recorder.client.get_run(recorder.run_id).info.status == "RUNNING":
                status = record.get("status", "RUNNING")
                recorder.close("KILLED" if status == "RUNNING" else status)
        except UserError:
            raise
        except Exception as error:
            problem = "does not answer" if is_unreachable(error) else "refuses"
            raise UserError(masked(f"{uri} {problem}: {' '.join(str(error).split())}. {KEPT}")) from error
        if not spool.pending(trust):
            spool.clear()
        return Sent(recorder.run_id, len(pending), recorder.failure, recorder.gone)
